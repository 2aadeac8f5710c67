"""Outputs that persist, while another part of their stage writes there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from dvc_data.hashfile.db.local import LocalHashFileDB

from tests.launch.jobs.toy_work import make_repository
from trackyard.launch.jobs.outputs import clear_outputs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Stage `one` keeps its output, a directory of files that are links into DVC's cache."""
    root = make_repository(tmp_path / "toy")
    document = yaml.safe_load((root / "dvc.yaml").read_text())
    document["stages"]["one"]["outs"] = [{"out/one": {"persist": True}}]
    (root / "dvc.yaml").write_text(yaml.safe_dump(document))
    (root / "out" / "one").mkdir(parents=True)
    (root / "out" / "one" / "a").write_text("of part 0")
    with Repo(str(root)) as repo, repo.config.edit("local") as settings:
        settings["cache"] = {"type": ["hardlink"]}
    with Repo(str(root)) as repo:
        repo.commit(f"{root}/dvc.yaml:one", force=True)
        repo.checkout([str(root / "out" / "one")], force=True, relink=True)
    return root


def test_what_persists_stays_and_is_no_longer_a_link(root: Path) -> None:
    path = root / "out" / "one" / "a"
    assert path.stat().st_nlink == 2
    assert clear_outputs(root, "one", persistent_only=False) == (path.parent,)
    assert (path.read_text(), path.stat().st_nlink, os.access(path, os.W_OK)) == ("of part 0", 1, True)


def test_what_another_part_renames_meanwhile_is_not_missed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "out" / "one"
    begun = folder / ".partial-b.1.1"
    begun.write_text("of part 1")
    (folder / "z").write_text("of part 2")
    real = LocalHashFileDB._unprotect_file
    seen: list[str] = []

    def busy(self: LocalHashFileDB, path: str, *more: Any, **named: Any) -> None:
        if not seen:
            begun.rename(folder / "b")
            (folder / ("a" if path.endswith("z") else "z")).unlink()
        seen.append(path)
        real(self, path, *more, **named)

    monkeypatch.setattr(LocalHashFileDB, "_unprotect_file", busy)
    assert clear_outputs(root, "one", persistent_only=True) == (folder,)
    assert (folder / "b").read_text() == "of part 1"
    assert len(seen) == 1


def test_a_file_that_cannot_be_had_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: LocalHashFileDB, path: str, *more: Any, **named: Any) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(LocalHashFileDB, "_unprotect_file", fails)
    with pytest.raises(FileNotFoundError):
        clear_outputs(root, "one", persistent_only=True)

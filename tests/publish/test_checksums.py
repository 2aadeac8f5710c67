"""checksums.json names every file with digests that other programs compute too, and a change is seen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.publish.checksums import CHECKSUMS, require_unchanged, write_checksums


def found(folder: Path) -> dict[str, tuple[int, str, str]]:
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_size, digest_file(path), hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in folder.rglob("*")
        if path.is_file()
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "a").write_bytes(b"1" * 100)
    (tmp_path / "b").write_bytes(b"")
    write_checksums(tmp_path)
    (tmp_path / "lineage.json").write_text("{}")
    return tmp_path


def test_every_file_but_those_that_come_after(folder: Path) -> None:
    stated = json.loads((folder / CHECKSUMS).read_text())["files"]
    assert set(stated) == {"vae/a", "b"}
    size, one, other = found(folder)["vae/a"]
    assert stated["vae/a"] == {"bytes": size, "blake3": one, "sha256": other}
    require_unchanged(folder, found(folder))


def test_each_change_is_named(folder: Path) -> None:
    (folder / "b").write_bytes(b"2")
    (folder / "c").write_bytes(b"")
    (folder / "vae" / "a").unlink()
    with pytest.raises(DataError, match="vae/a is missing; c was added; b was changed"):
        require_unchanged(folder, found(folder))

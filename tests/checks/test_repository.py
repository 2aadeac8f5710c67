"""Which files a check examines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from checks.repository import files
from trackyard.errors import EnvironmentLacking


def _git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


def test_tracked_and_new_files_but_neither_ignored_nor_deleted_ones(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    for name in ("tracked.txt", "deleted.txt", "new file ü.txt", "ignored.log"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "link").symlink_to("nowhere")
    _git(tmp_path, "add", "tracked.txt", "deleted.txt")
    (tmp_path / "deleted.txt").unlink()

    assert files(tmp_path) == [".gitignore", "link", "new file ü.txt", "tracked.txt"]
    assert files(tmp_path, ["*.txt"]) == ["new file ü.txt", "tracked.txt"]


def test_outside_a_checkout_nothing_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacking, match="ls-files") as raised:
        files(tmp_path)
    assert "not a git repository" in raised.value.what

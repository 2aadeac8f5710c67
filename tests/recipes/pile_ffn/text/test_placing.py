import errno
import os
from pathlib import Path

import pytest

from trackyard.recipes.pile_ffn.text.placing import hard_link


def test_a_second_name_through_links(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    assert hard_link(tmp_path / "link", tmp_path / "in" / "folders" / "file")
    assert (tmp_path / "in" / "folders" / "file").samefile(tmp_path / "blob")
    assert not (tmp_path / "in" / "folders" / "file").is_symlink()


def test_file_systems_without_links_are_told_from_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        def link(source: Path, target: Path) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", link)

    (tmp_path / "a").write_text("a")
    for number in (errno.EXDEV, errno.EPERM, errno.EMLINK):
        refuse(number)
        assert not hard_link(tmp_path / "a", tmp_path / "b")
    refuse(errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        hard_link(tmp_path / "a", tmp_path / "b")

import os
from pathlib import Path
from typing import Any

import pytest

from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.evaluate import part_files
from trackyard.evaluate.part_files import PartWriter, read_part, read_parts


def test_a_process_that_finds_nothing_to_do_leaves_nothing(tmp_path: Path) -> None:
    with PartWriter(tmp_path / "store", "1-of-2"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_no_two_writers_share_a_file(tmp_path: Path) -> None:
    with PartWriter(tmp_path, "1-of-2") as one, PartWriter(tmp_path, "1-of-2") as other:
        one.append(b"{1}")
        other.append(b"{2}")
    assert one.path != other.path
    assert sorted(line for part in read_parts(tmp_path) for line in part.lines) == [b"{1}", b"{2}"]
    assert not any(part.torn for part in read_parts(tmp_path))


def test_what_is_flushed_is_there_before_the_end(tmp_path: Path) -> None:
    writer = PartWriter(tmp_path, "")
    writer.append(b"{1}")
    assert list(read_parts(tmp_path)) == []
    writer.flush()
    assert read_part(writer.path).lines == [b"{1}"]
    writer.close()


def test_lines_go_to_disk_with_time_and_with_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync
    now = 0.0
    with PartWriter(tmp_path, "", clock=lambda: now) as writer:
        writer.append(b"{1}")
        writer.flush()

        def counted(handle: int) -> None:
            synced.append(handle)
            fsync(handle)

        monkeypatch.setattr(os, "fsync", counted)
        now = part_files.SYNC_EVERY_S - 0.1
        writer.append(b"{2}")
        assert read_part(writer.path).lines == [b"{1}"]
        assert not synced
        now += 0.2
        writer.append(b"{3}")
        assert read_part(writer.path).lines == [b"{1}", b"{2}", b"{3}"]
        assert len(synced) == 1
        writer.append(b"x" * part_files.HELD_BYTES)
        assert len(read_part(writer.path).lines) == 4
    assert len(synced) == 2


def test_a_write_that_the_disk_cut_short_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Any = os.write
    full = True

    def cut_short(handle: int, data: bytes) -> int:
        if full and len(data) <= 8:
            raise OSError(28, "No space left on device")
        return int(write(handle, data[:5] if full else data))

    writer = PartWriter(tmp_path, "")
    monkeypatch.setattr(os, "write", cut_short)
    writer.append(b"{0123456789}")
    with pytest.raises(EnvironmentLacking, match=r"No space left on device \(8 bytes not written\)"):
        writer.flush()
    assert read_part(writer.path).torn
    full = False
    writer.append(b"{next}")
    writer.close()
    assert read_part(writer.path).lines == [b"{0123456789}", b"{next}"]
    assert not read_part(writer.path).torn


def test_a_label_is_part_of_a_file_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'1/2'"):
        PartWriter(tmp_path, "1/2")

"""Notes of ranks: rank 0 goes on when all files are to be seen, and gives up with the ranks named."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from trackyard.train.checkpoint import StoredFile
from trackyard.train.parts import collect_parts, leave_failure, leave_part

FILE = StoredFile(path="state-00001.safetensors", bytes=3, blake3="b", fragments={"w": (0, 2, 0)})


def soon() -> float:
    return time.monotonic() + 0.05


def test_a_part_is_there_when_its_files_are(tmp_path: Path) -> None:
    leave_part(tmp_path, 1, [FILE])
    with pytest.raises(TimeoutError, match="rank 1 did not finish"):
        collect_parts(tmp_path, [1], deadline=soon())
    (tmp_path / FILE.path).write_bytes(b"ab")
    with pytest.raises(TimeoutError):
        collect_parts(tmp_path, [1], deadline=soon())
    (tmp_path / FILE.path).write_bytes(b"abc")
    assert collect_parts(tmp_path, [1], deadline=soon()) == [FILE]
    assert [path.name for path in tmp_path.iterdir()] == [FILE.path], "the note is gone"


def test_a_failure_is_told_with_its_rank(tmp_path: Path) -> None:
    leave_failure(tmp_path, 2, "No space left on device")
    with pytest.raises(OSError, match="rank 2: No space left"):
        collect_parts(tmp_path, [1, 2], deadline=soon())
    leave_failure(tmp_path / "gone", 1, "a disk that takes no note either")
    (tmp_path / "part-00001.json").write_text("torn")
    with pytest.raises(OSError, match="not valid JSON"):
        collect_parts(tmp_path, [1], deadline=soon())


def test_a_rank_that_writes_its_note_disturbs_no_other(tmp_path: Path) -> None:
    """Its note has another name until it is complete: rank 0 may list that name, and it is gone when asked for."""
    (tmp_path / FILE.path).write_bytes(b"abc")
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            leave_part(tmp_path, 2, [])

    rank = threading.Thread(target=write)
    rank.start()
    try:
        for _ in range(200):
            leave_part(tmp_path, 1, [FILE])
            assert collect_parts(tmp_path, [1], deadline=soon()) == [FILE]
    finally:
        ended.set()
        rank.join()

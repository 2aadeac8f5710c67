"""How ranks that write one checkpoint find each other: through the directory that it grows in, without a collective.

Every other rank leaves a note when its files are on the device, or when it gave up; rank 0 collects them in time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from trackyard.errors import DataError
from trackyard.schema import read_document, write_document
from trackyard.train.checkpoint import StoredFile

PART_SCHEMA = "trackyard-checkpoint-part/1"
POLL_S = 0.02


def _note(directory: Path, rank: int) -> Path:
    return directory / f"part-{rank:05d}.json"


def leave_part(directory: Path, rank: int, files: Sequence[StoredFile]) -> None:
    """Say that the files of `rank` are on the device. Raises OSError."""
    write_document(_note(directory, rank), PART_SCHEMA, {"files": [asdict(file) for file in files], "failure": None})


def leave_failure(directory: Path, rank: int, failure: str) -> None:
    """Say that `rank` gave up, as far as its disk lets it; rank 0 gives up at its deadline otherwise."""
    with contextlib.suppress(OSError):
        write_document(_note(directory, rank), PART_SCHEMA, {"files": [], "failure": failure})


def collect_parts(directory: Path, others: Sequence[int], *, deadline: float) -> list[StoredFile]:
    """The files of `others`, once they are all to be seen here; their notes are removed.

    deadline: of time.monotonic. Raises OSError (TimeoutError past the deadline) naming the ranks that failed.
    """
    files: list[StoredFile] = []
    waiting = list(others)
    while waiting:
        for rank in list(waiting):
            found = _part(directory, rank)
            if found is not None:
                files += found
                waiting.remove(rank)
        if waiting and time.monotonic() > deadline:
            raise TimeoutError(f"rank {', '.join(map(str, waiting))} did not finish its part in time")
        if waiting:
            time.sleep(POLL_S)
    for rank in others:
        _note(directory, rank).unlink()
    return files


def _part(directory: Path, rank: int) -> list[StoredFile] | None:
    """None while a note or one of its files is not there yet: a shared file system may show them late."""
    note = _note(directory, rank)
    if not note.is_file():
        return None
    try:
        body = read_document(note, PART_SCHEMA, fix="save again")
    except DataError as error:
        raise OSError(error.what) from error
    if body["failure"] is not None:
        raise OSError(f"rank {rank}: {body['failure']}")
    files = [StoredFile.parse(entry) for entry in body["files"]]
    return files if all(_size(directory / file.path) == file.bytes for file in files) else None


def _size(file: Path) -> int | None:
    """In bytes, None while there is no such file; other names are not asked for, ranks that still write change them."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None

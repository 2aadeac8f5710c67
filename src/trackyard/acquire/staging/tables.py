"""Rows of one split as `datasets` cached them: Arrow files, read batch by batch without any script.

Files are mapped into memory, as `datasets` itself does: only what is looked at is read, so that finding the paths in
34 GB of embedded images costs seconds. Source: nine-datasets spec section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from trackyard.errors import DataError

_FILE_MAGIC = b"ARROW1"


class Table(Protocol):
    """A split: the same rows in the same order each time."""

    @property
    def name(self) -> str:
        """Folder that the split has when it is staged."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that hold the rows."""
        ...

    @property
    def declared(self) -> int | None:
        """Rows that a document states: a stream that was cut between two batches reads well, with fewer."""
        ...

    @property
    def schema(self) -> Any: ...

    def batches(self) -> Iterator[Any]:
        """Record batches in order."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrowTable:
    """name: the split, or config/split where the cache has several configurations. declared: rows that its documents
    state, None where they state none."""

    name: str
    files: tuple[Path, ...]
    declared: int | None = None

    @property
    def schema(self) -> Any:
        with pa.memory_map(str(self.files[0])) as source:
            return _reader(self.files[0], source).schema

    def batches(self) -> Iterator[Any]:
        """Record batches of all files. DataError names a file that is cut, damaged or gone."""
        for path in self.files:
            yield from arrow_batches(path)


def arrow_batches(path: Path) -> Iterator[Any]:
    """Record batches of one file, in the stream or the file format; DataError if it cannot be read to its end."""
    try:
        with pa.memory_map(str(path)) as source:
            reader = _reader(path, source)
            if isinstance(reader, pa.RecordBatchFileReader):
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number)
            else:
                yield from reader
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def _reader(path: Path, source: Any) -> Any:
    try:
        magic = source.read(len(_FILE_MAGIC))
        source.seek(0)
        return pa.ipc.open_file(source) if magic == _FILE_MAGIC else pa.ipc.open_stream(source)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for an Arrow file that is not whole."""
    return DataError(
        what=f"{path} cannot be read: {error}",
        why="its rows, and the images that they point to, are unknown",
        fix="build the cache again on the machine it comes from, and run the same command again",
    )


def rows_between(table: Table, start: int, stop: int) -> Iterator[Any]:
    """Record batches that hold exactly the rows start to stop - 1."""
    seen = 0
    for batch in table.batches():
        first, last = max(start - seen, 0), min(stop - seen, batch.num_rows)
        if first < last:
            yield batch.slice(first, last - first)
        seen += batch.num_rows
        if seen >= stop:
            return

"""Writing a dataset of a snapshot: Parquet shards with page checksums, the manifest last, all or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.digest import digest_file
from trackyard.durable import atomic_directory
from trackyard.errors import DataError
from trackyard.row import Row
from trackyard.snapshot.columns import SCHEMA, row_to_record
from trackyard.snapshot.manifest import FileEntry, Manifest

SHARD_BYTES = 256_000_000
"""A shard is closed once it holds this many bytes of media and text."""
ROWS_WITH_IMAGES = 256
ROWS_WITH_VIDEOS = 32
"""Rows per row group at most (molmo2 spec section 3)."""
GROUP_BYTES = 8_000_000
"""Media bytes per row group at most, unless one row alone has more: what one random access reads, and memory holds."""
MAX_ROW_BYTES = 2**31 - 1
"""Arrow's limit for the binary values of one column of a row group."""

_MEDIA_BYTES = "media.list.element.bytes"
COMPRESSION = {
    "id": "zstd",
    "task": "zstd",
    "meta": "zstd",
    "conversations.list.element.list.element.role": "zstd",
    "conversations.list.element.list.element.content": "zstd",
    _MEDIA_BYTES: "none",  # encoded already: compressing it again costs time and saves nothing
}
_SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def write_dataset(
    directory: Path,
    rows_by_split: Mapping[str, Iterable[Row]],
    *,
    dataset: str,
    source: Mapping[str, Any],
    licence: str,
    exclusions: Mapping[str, int] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Manifest:
    """Write `directory` (which must not exist) from streams of rows; memory holds one row group.

    The same rows give the same bytes. exclusions is read after the last row: a mapping that fills while rows stream is
    complete then. Raises DataError if `directory` exists, on a repeated id, on a row that is not well formed, or if
    there is no row at all; nothing is left behind then.
    """
    refuse_existing(directory)
    with atomic_directory(directory) as partial:
        files: list[FileEntry] = []
        splits: dict[str, int] = {}
        seen: dict[str, tuple[str, int]] = {}
        for split, rows in rows_by_split.items():
            with ShardWriter(partial, split, shard_bytes) as shards:
                for row in _unique(split, rows, seen, dataset):
                    shards.add(row)
            if shards.files:
                files += shards.files
                splits[split] = sum(entry.rows for entry in shards.files)
        if not files:
            raise without_rows(dataset, exclusions or {})
        manifest = Manifest(
            dataset=dataset,
            source=dict(source),
            licence=licence,
            splits=splits,
            files=tuple(files),
            exclusions=dict(sorted((exclusions or {}).items())),
        )
        manifest.write(partial)
    return manifest


def refuse_existing(directory: Path) -> None:
    """DataError if the dataset is there: a complete one is never written again."""
    if directory.exists():
        raise DataError(
            what=f"{directory} exists already",
            why="datasets of a snapshot are immutable: plans and runs are tied to their bytes",
            fix=f"write to another snapshot directory, or remove it first: rm -r {directory}",
        )


def without_rows(dataset: str, exclusions: Mapping[str, int]) -> DataError:
    """The error for a dataset that would be empty. exclusions: why rows were left out."""
    listing = ", ".join(f"{count} {reason}" for reason, count in sorted(exclusions.items())) or "none"
    return DataError(
        what=f"dataset {dataset} has no usable row (left out: {listing})",
        why="an empty dataset would be sampled from, or silently left out",
        fix="correct the mapping or the source, and import again",
    )


def check_split(split: str) -> None:
    """DataError unless the split can be a folder."""
    if not _SPLIT.fullmatch(split):
        raise DataError(
            what=f"split {split!r}",
            why="a split is a folder of the dataset",
            fix="name it with letters, digits, - and _, for example train or validation",
        )


def _unique(split: str, rows: Iterable[Row], seen: dict[str, tuple[str, int]], dataset: str) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        if row.id in seen:
            other, first = seen[row.id]
            raise repeated_id(row.id, dataset, f"row {first} of {other}", f"row {number} of {split}")
        seen[row.id] = (split, number)
        yield row


def repeated_id(identity: str, dataset: str, first: str, second: str) -> DataError:
    """The error for an id that two rows have. first, second: where they come from."""
    return DataError(
        what=f"id {identity!r} occurs twice in {dataset}: {first}, {second}",
        why="an id names one row, in lineage and in every report",
        fix="give the mapping an id field that is unique, or none (ids are then made from line numbers)",
    )


@dataclass(slots=True)
class _Group:
    """Rows that wait to become one row group."""

    records: list[dict[str, Any]] = field(default_factory=list)
    bytes: int = 0
    video: bool = False

    def takes(self, size: int, video: bool) -> bool:
        limit = ROWS_WITH_VIDEOS if self.video or video else ROWS_WITH_IMAGES
        return not self.records or (len(self.records) < limit and self.bytes + size <= GROUP_BYTES)


@dataclass(slots=True)
class _Open:
    """The shard that is being written. size: bytes of its row groups in memory."""

    relative: str
    writer: pq.ParquetWriter
    rows: int = 0
    size: int = 0


class ShardWriter:
    """Shards of one split, row after row; memory holds one row group. The same rows give the same bytes.

    A split without rows writes nothing, not even its folder. Use as a context manager: an error closes the open file.
    """

    def __init__(self, root: Path, split: str, shard_bytes: int) -> None:
        check_split(split)
        self._root, self._split, self._shard_bytes = root, split, shard_bytes
        self._group = _Group()
        self._open: _Open | None = None
        self.files: list[FileEntry] = []
        """Complete shards; all of them once the block has ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
            self._end_shard()
        elif self._open is not None:
            self._open.writer.close()

    def add(self, row: Row) -> None:
        """Write a row, sooner or later. DataError for a row that no reader could hold, or that is not well formed."""
        size = sum(len(medium.data) for medium in row.media)
        if size > MAX_ROW_BYTES:
            raise DataError(
                what=f"row {row.id!r} has {size:,} bytes of media",
                why=f"a Parquet reader cannot hold more than {MAX_ROW_BYTES:,} in one row",
                fix="cut its video into clips, or leave it out",
            )
        video = any(medium.kind == "video" for medium in row.media)
        if not self._group.takes(size, video):
            self._flush()
        self._group.records.append(row_to_record(row))
        self._group.bytes += size
        self._group.video |= video

    def _flush(self) -> None:
        """Write the waiting row group and let go of its rows."""
        records = self._group.records
        if not records:
            return
        if self._open is not None and self._open.size >= self._shard_bytes:
            self._end_shard()
        if self._open is None:
            self._open = self._begin_shard()
        table = pa.Table.from_pylist(records, schema=SCHEMA)
        self._open.writer.write_table(table, row_group_size=len(records))
        self._open.rows += len(records)
        self._open.size += int(table.nbytes)
        self._group = _Group()

    def _begin_shard(self) -> _Open:
        relative = f"{self._split}/part-{len(self.files):05d}.parquet"
        path = self._root / relative
        path.parent.mkdir(exist_ok=True)
        return _Open(relative, open_shard(path))

    def _end_shard(self) -> None:
        if self._open is None:
            return
        shard, self._open = self._open, None
        shard.writer.close()
        path = self._root / shard.relative
        size = path.stat().st_size
        self.files.append(FileEntry(path=shard.relative, bytes=size, rows=shard.rows, blake3=digest_file(path)))


def open_shard(path: Path) -> pq.ParquetWriter:
    """A writer of the one form that shards have."""
    return pq.ParquetWriter(
        path, SCHEMA, compression=COMPRESSION, use_dictionary=False, write_page_checksum=True, write_statistics=False
    )

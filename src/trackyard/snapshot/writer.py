"""Writing a dataset of a snapshot: Parquet shards with page checksums, the manifest last, all or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    if directory.exists():
        raise DataError(
            what=f"{directory} exists already",
            why="datasets of a snapshot are immutable: plans and runs are tied to their bytes",
            fix=f"write to another snapshot directory, or remove it first: rm -r {directory}",
        )
    with atomic_directory(directory) as partial:
        files: list[FileEntry] = []
        splits: dict[str, int] = {}
        seen: set[str] = set()
        for split, rows in rows_by_split.items():
            _check_split(split)
            written = list(_write_split(partial, split, _unique(rows, seen, dataset), shard_bytes))
            if written:
                files += written
                splits[split] = sum(entry.rows for entry in written)
        if not files:
            raise DataError(
                what=f"dataset {dataset} has no usable row (left out: {_listing(exclusions or {})})",
                why="an empty dataset would be sampled from, or silently left out",
                fix="correct the mapping or the source, and import again",
            )
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


def _listing(exclusions: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(exclusions.items())) or "none"


def _check_split(split: str) -> None:
    if not _SPLIT.fullmatch(split):
        raise DataError(
            what=f"split {split!r}",
            why="a split is a folder of the dataset",
            fix="name it with letters, digits, - and _, for example train or validation",
        )


def _unique(rows: Iterable[Row], seen: set[str], dataset: str) -> Iterator[Row]:
    for row in rows:
        if row.id in seen:
            raise DataError(
                what=f"id {row.id!r} occurs twice in {dataset}",
                why="an id names one row, in lineage and in every report",
                fix="give the mapping an id field that is unique, or none (ids are then made from line numbers)",
            )
        seen.add(row.id)
        yield row


@dataclass(slots=True)
class _Group:
    """Rows that wait to become one row group."""

    records: list[dict[str, Any]] = field(default_factory=list)
    bytes: int = 0
    video: bool = False

    def takes(self, size: int, video: bool) -> bool:
        limit = ROWS_WITH_VIDEOS if self.video or video else ROWS_WITH_IMAGES
        return not self.records or (len(self.records) < limit and self.bytes + size <= GROUP_BYTES)


def _row_groups(rows: Iterator[Row]) -> Iterator[_Group]:
    group = _Group()
    for row in rows:
        size = sum(len(medium.data) for medium in row.media)
        if size > MAX_ROW_BYTES:
            raise DataError(
                what=f"row {row.id!r} has {size:,} bytes of media",
                why=f"a Parquet reader cannot hold more than {MAX_ROW_BYTES:,} in one row",
                fix="cut its video into clips, or leave it out",
            )
        video = any(medium.kind == "video" for medium in row.media)
        if not group.takes(size, video):
            yield group
            group = _Group()
        group.records.append(row_to_record(row))
        group.bytes += size
        group.video |= video
    if group.records:
        yield group


def _write_split(root: Path, split: str, rows: Iterator[Row], shard_bytes: int) -> Iterator[FileEntry]:
    """Shards of one split; an empty split writes nothing."""
    number = 0
    groups = _row_groups(rows)
    group = next(groups, None)
    while group is not None:
        relative = f"{split}/part-{number:05d}.parquet"
        path = root / relative
        path.parent.mkdir(exist_ok=True)
        count = size = 0
        with pq.ParquetWriter(
            path,
            SCHEMA,
            compression=COMPRESSION,
            use_dictionary=False,
            write_page_checksum=True,
            write_statistics=False,
        ) as writer:
            while group is not None and (count == 0 or size < shard_bytes):
                count += len(group.records)
                size += _write_group(writer, group)
                group = next(groups, None)
        yield FileEntry(path=relative, bytes=path.stat().st_size, rows=count, blake3=digest_file(path))
        number += 1


def _write_group(writer: pq.ParquetWriter, group: _Group) -> int:
    """Write one row group and let go of its rows; returns its size in memory."""
    table = pa.Table.from_pylist(group.records, schema=SCHEMA)
    writer.write_table(table, row_group_size=len(group.records))
    group.records.clear()
    return int(table.nbytes)

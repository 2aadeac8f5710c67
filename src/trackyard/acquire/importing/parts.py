"""An import in parts that can be read independently: row groups of tables, files of lines, or buckets of images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from trackyard.acquire.importing.account import Account
from trackyard.acquire.importing.reading import UNITS, Reading
from trackyard.acquire.importing.sources import SourceFile
from trackyard.acquire.importing.stream import mapping_digest, reading_of, source_of
from trackyard.digest import digest_file, digest_json
from trackyard.row import Row

BUCKET_SHARDS = 4
"""Shards that one bucket of grouped records becomes: each bucket reads every table again, but holds only its texts."""
MOST_BUCKETS = 256


@dataclass(frozen=True, kw_only=True)
class ImportPart:
    """One part of an import, as `trackyard.snapshot.build` takes it. Plain data."""

    name: str
    reading: Reading
    size: int
    inputs: Mapping[str, str]

    def rows(self, account: Account) -> Iterator[tuple[str, int, Row]]:
        """(split, number of the record in its file, row); `account` fills while rows stream."""
        yield from self.reading.rows(account)

    def place(self, number: int) -> str:
        """Where a record is: the file, and its line or row."""
        names = ", ".join(file.name for file in self.reading.files[:3])
        return f"{UNITS[self.reading.mapping.suffix]} {number} of {names}"


@dataclass(frozen=True, kw_only=True)
class ImportPlan:
    """Everything that the build of an imported dataset takes."""

    dataset: str
    licence: str
    source: Mapping[str, Any]
    parts: tuple[ImportPart, ...]


def plan_import(
    mapping: Path,
    base: Path,
    *,
    shard_bytes: int,
    images: Path | None = None,
    entries: Mapping[str, Path] | None = None,
) -> ImportPlan:
    """Parts of the import that a mapping file describes, each about as large as a shard. Arguments as of open_import.

    Every source is hashed, and of tables the footers are read; DataError where one is missing, cut or lacks a field.
    """
    reading = reading_of(mapping, base, images=images, entries=entries)
    digests = {file.name: digest_file(file.path) for file in reading.files}
    inputs = {"mapping": mapping_digest(reading.mapping)}
    inputs |= {f"held out {path.name}": digest_file(path) for path in reading.held_out_files()}
    media_bytes = 0
    folder = reading.image_folder()
    by_path = reading.mapping.suffix == ".jsonl" and any(field.origin == "record" for field in reading.mapping.media)
    if folder is None and by_path:
        folder = reading.base / reading.mapping.media_root
    if folder is not None:
        inputs["media"], media_bytes = _listing(folder)
    stored = sum(file.path.stat().st_size for file in reading.files)
    growth = (stored + media_bytes) / max(stored, 1)
    if reading.mapping.group_by is not None:
        parts = list(_buckets(reading, inputs | digests, stored + media_bytes, shard_bytes))
    else:
        parts = [
            part
            for file in reading.files
            for part in _parts_of(reading, file, inputs | {file.name: digests[file.name]}, growth, shard_bytes)
        ]
    return ImportPlan(
        dataset=reading.mapping.dataset,
        licence=reading.mapping.licence,
        source=source_of(reading.mapping, digests),
        parts=tuple(parts),
    )


def _listing(folder: Path) -> tuple[str, int]:
    """(digest of the names, sizes and times of all files below a folder, their bytes)."""
    found: list[tuple[str, int, int]] = []
    for directory, _, names in os.walk(folder):
        for name in names:
            if name.startswith("."):
                continue  # locks, and what is not finished
            path = Path(directory) / name
            state = path.lstat()
            found.append((path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns))
    return digest_json(sorted(found)), sum(size for _, size, _ in found)


def _parts_of(
    reading: Reading, file: SourceFile, inputs: Mapping[str, str], growth: float, shard_bytes: int
) -> Iterator[ImportPart]:
    """growth: bytes of rows for each byte of the sources."""
    whole = replace(reading, files=(file,))
    if reading.mapping.suffix != ".parquet":
        size = ceil(file.path.stat().st_size * growth)
        yield ImportPart(name=file.name, reading=whole, size=size, inputs=inputs)
        return
    from trackyard.acquire.importing.tables import table_groups

    groups = table_groups(file.path, reading.mapping)
    first, size = 0, 0
    for number, group in enumerate(groups):
        size += ceil(group.bytes * growth)
        if size >= shard_bytes or number == len(groups) - 1:
            name = f"{file.name} row groups {first} to {number}"
            run = range(first, number + 1)
            yield ImportPart(name=name, reading=replace(whole, groups=run), size=size, inputs=inputs)
            first, size = number + 1, 0


def _buckets(reading: Reading, inputs: Mapping[str, str], size: int, shard_bytes: int) -> Iterator[ImportPart]:
    count = min(max(1, ceil(size / (BUCKET_SHARDS * shard_bytes))), MOST_BUCKETS)
    for number in range(count):
        yield ImportPart(
            name=f"bucket {number + 1} of {count}",
            reading=replace(reading, bucket=(number, count)),
            size=ceil(size / count),
            inputs=inputs,
        )

"""From the units of a build to the dataset: small shards are joined, ids are proved unique, the manifest comes last.

All that is done here follows from the units, so it is simply done again after an interruption.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.digest import digest_file
from trackyard.durable import fsync_directory, fsync_file
from trackyard.errors import DataError
from trackyard.snapshot.manifest import FileEntry
from trackyard.snapshot.units import Unit, Written, id_key, read_ids
from trackyard.snapshot.writer import open_shard, repeated_id

LEAST = 0.4
"""A shard below this share of the wanted size is joined with its neighbours: 102 MB of 256 MB."""
MOST = 3.9
"""No shard grows beyond this multiple by joining: 998 MB of 256 MB."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A shard of a unit."""

    path: Path
    entry: FileEntry


def joined(sizes: Sequence[int], shard_bytes: int) -> list[range]:
    """Consecutive shards that become one, by their sizes in bytes; every shard is in exactly one range.

    No range but a lone small dataset stays below LEAST, unless its neighbours are too large to join.
    """
    groups: list[list[int]] = []
    for number, size in enumerate(sizes):
        held = sum(sizes[k] for k in groups[-1]) if groups else 0
        small = held < LEAST * shard_bytes and held + size <= MOST * shard_bytes
        if groups and (small or held + size <= shard_bytes):
            groups[-1].append(number)
        else:
            groups.append([number])
    if len(groups) > 1:
        last, before = (sum(sizes[k] for k in group) for group in (groups[-1], groups[-2]))
        if last < LEAST * shard_bytes and before + last <= MOST * shard_bytes:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [range(group[0], group[-1] + 1) for group in groups]


def assemble(work: Path, units: Sequence[Unit], written: Sequence[Written], *, shard_bytes: int) -> list[FileEntry]:
    """Make the directory `dataset` below the build's: all its shards, no manifest yet. Begins anew each time."""
    out = work / "dataset"
    if out.exists():
        shutil.rmtree(out)
    out.mkdir()
    files: list[FileEntry] = []
    splits = sorted({entry.split for found in written for entry in found.files})
    for split in splits:
        pieces = [
            Piece(unit.path(work) / entry.path, entry)
            for unit, found in zip(units, written, strict=True)
            for entry in found.files
            if entry.split == split
        ]
        (out / split).mkdir()
        for number, group in enumerate(joined([piece.entry.bytes for piece in pieces], shard_bytes)):
            files.append(_place(out, f"{split}/part-{number:05d}.parquet", [pieces[k] for k in group]))
        fsync_directory(out / split)
    return files


def _place(out: Path, relative: str, pieces: Sequence[Piece]) -> FileEntry:
    path = out / relative
    if len(pieces) == 1:
        _link(pieces[0].path, path)
        entry = pieces[0].entry
        return FileEntry(path=relative, bytes=entry.bytes, rows=entry.rows, blake3=entry.blake3)
    with open_shard(path) as writer:
        for piece in pieces:
            _copy_groups(piece.path, writer)
    fsync_file(path)
    rows = sum(piece.entry.rows for piece in pieces)
    return FileEntry(path=relative, bytes=path.stat().st_size, rows=rows, blake3=digest_file(path))


def _copy_groups(path: Path, writer: pq.ParquetWriter) -> None:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for number in range(file.metadata.num_row_groups):
                table = file.read_row_group(number, use_threads=False)
                writer.write_table(table, row_group_size=table.num_rows)
    except pa.ArrowException as error:
        raise DataError(
            what=f"{path} cannot be read: {error}",
            why="it was proved when the build began, so the disk or another process has changed it",
            fix="repeat the same command: what is damaged is made again",
        ) from error


def _link(source: Path, target: Path) -> None:
    """The same file under another name; its bytes again where the file system has no links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
        shutil.copyfile(source, target)
        fsync_file(target)


def check_ids(work: Path, units: Sequence[Unit], dataset: str) -> None:
    """DataError if two rows of the dataset share an id; it names both places. Holds 16 bytes per row, and an order."""
    tables = [read_ids(work, unit) for unit in units]
    high = np.concatenate([table["high"] for table in tables])
    low = np.concatenate([table["low"] for table in tables])
    order = np.lexsort((low, high))
    same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
    if not same.any():
        return
    where = int(np.flatnonzero(same)[0])
    first, second = sorted((int(order[where]), int(order[where + 1])))
    starts = np.cumsum([0, *(len(table) for table in tables)])
    places = []
    for row in (first, second):
        number = int(np.searchsorted(starts, row, side="right")) - 1
        entry = tables[number][row - int(starts[number])]
        places.append(units[number].parts[int(entry["part"])].place(int(entry["number"])))
        unit = units[number]
    identity = _identity(unit.path(work), (int(high[second]), int(low[second])))
    raise repeated_id(identity, dataset, places[0], places[1])


def _identity(directory: Path, key: tuple[int, int]) -> str:
    """The id whose digest is known, found in the shards of a unit."""
    for path in sorted(directory.glob("*/part-*.parquet")):
        for identity in pq.read_table(path, columns=["id"]).column("id").to_pylist():
            if id_key(identity) == key:
                return str(identity)
    raise ValueError(f"no row of {directory} has the id digest {key}")

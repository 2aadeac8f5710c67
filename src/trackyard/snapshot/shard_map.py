"""The map of a shard: for every row its texts, where its media lie in the file, and a digest over both.

A shard is Parquet, so that every tool reads it; but a Parquet reader decodes hundreds of rows to give one. Media are
stored plain and uncompressed (`writer.COMPRESSION`), so each is a range of the file. The map is derived once, from a
shard whose every byte was proved by the manifest's blake3, and kept under that digest: it is never stale, any process
may write it again, and it can be deleted at any time. With it a row costs a look-up and the check of its own bytes.

Form, little-endian: magic and number of rows; per row the start of its record and its digest (two uint64), then the end
of the last record; the records. A record: numbers of media and of texts (uint32), per medium its offset and size in the
shard (uint64), per text where it ends in the joined ones, in characters (uint32), the joined texts in UTF-8. The digest
is xxh3 over record and media, seeded by the row's number, so that no other row passes for it. Source: performance spec
section 8.3.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from xxhash import xxh3_64_intdigest

from trackyard.errors import DataError
from trackyard.snapshot.columns import SCHEMA
from trackyard.snapshot.manifest import FileEntry

MAGIC = b"ty-map/1"
HEAD = struct.Struct("<8sQ")
COUNTS = struct.Struct("<II")
ENTRY = struct.Struct("<QQQ")
"""Start and digest of a record, and its end, which is the start of the next."""
STRIDE = 16
MEDIA_BYTES = "media.list.element.bytes"
_PROBE = 16
"""Bytes of a medium that are searched for before all of it is compared."""


def maps_directory() -> Path:
    """Where maps are kept: `$XDG_CACHE_HOME/trackyard/shard-maps`, by default below `~/.cache`."""
    # Unlike Path.home, this raises nothing where the user is unknown; writing then fails, and says so.
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base) / "trackyard" / "shard-maps"


def map_file(path: Path, size: int | None = None) -> mmap.mmap:
    """The bytes of a file, read where they are touched. OSError if it is absent, or has not `size` bytes where given.

    A file that is cut while it is mapped ends the process when the lost part is touched (SIGBUS): shards are replaced,
    never written in place.
    """
    with open(path, "rb") as handle:
        found = os.fstat(handle.fileno()).st_size
        if size is not None and found != size:
            raise OSError(f"{found} bytes, expected {size}")
        return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


def build_map(path: Path, entry: FileEntry, restore: str) -> bytes:
    """Prove every byte of a shard by the manifest's digest, then derive its map. Memory: a row group and all texts.

    DataError, which tells to run `restore`, if the file is absent, cut, changed, or not of the form that shards have.
    """
    try:
        memory = map_file(path, entry.bytes)
        found = blake3(memory).hexdigest()
        if found != entry.blake3:
            raise damaged(path, f"blake3 {found}, expected {entry.blake3}", restore)
        with pq.ParquetFile(pa.BufferReader(pa.py_buffer(memory))) as file:
            if not file.schema_arrow.equals(SCHEMA) or file.metadata.num_rows != entry.rows:
                stated = f"{file.metadata.num_rows} rows of {file.schema_arrow.names}"
                raise damaged(path, f"{stated}, expected {entry.rows} of {SCHEMA.names}", restore)
            return _encode(_records(file, memory))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise damaged(path, str(error), restore) from error


def damaged(path: Path, problem: str, restore: str) -> DataError:
    """The error for a shard that is not the one that the manifest names."""
    return DataError(
        what=f"{path} cannot be read: {problem}",
        why="the file is missing, cut short or has changed bytes; training on it would not be the planned training",
        fix=restore,
    )


def row_digest(number: int, record: bytes | memoryview, media: Sequence[bytes | memoryview]) -> int:
    """xxh3 of a record, seeded by the row's number, and of each medium, seeded by what came before it."""
    digest = xxh3_64_intdigest(record, number)
    for data in media:
        digest = xxh3_64_intdigest(data, digest)
    return digest


def _records(file: pq.ParquetFile, memory: mmap.mmap) -> Iterator[tuple[bytes, list[bytes]]]:
    """Every row as its record and its media."""
    paths = [file.schema.column(number).path for number in range(len(file.schema))]
    column = paths.index(MEDIA_BYTES)
    for number in range(file.num_row_groups):
        chunk = file.metadata.row_group(number).column(column)
        if chunk.compression != "UNCOMPRESSED":
            raise ValueError(f"its media are compressed ({chunk.compression}), so none is a range of the file")
        cursor = chunk.data_page_offset
        end = cursor + chunk.total_compressed_size
        for row in file.read_row_group(number, use_threads=False).to_pylist():
            media = [medium.pop("bytes") for medium in row["media"]]
            ranges: list[int] = []
            for data in media:
                start = _find(memory, data, cursor, end)
                cursor = start + len(data)
                ranges += (start, len(data))
            yield _record(row, ranges), media


def _find(memory: mmap.mmap, data: bytes, cursor: int, end: int) -> int:
    """Where `data` begins, at or after `cursor`: a plain page holds values in order, each after its length.

    Found by comparing bytes, so a page header in between, or one that looks like a value, does no harm.
    """
    probe = len(data).to_bytes(4, "little") + data[:_PROBE]
    at = memory.find(probe, cursor, end)
    while at >= 0:
        start = at + 4
        if memory[start : start + len(data)] == data:
            return start
        at = memory.find(probe, at + 1, end)
    raise ValueError("its media are not stored plain, so none is a range of the file")


def _record(row: dict[str, Any], ranges: list[int]) -> bytes:
    roles = [[turn["role"] for turn in turns] for turns in row["conversations"]]
    shape = json.dumps([row["media"], roles], separators=(",", ":"), ensure_ascii=False)
    contents = (turn["content"] for turns in row["conversations"] for turn in turns)
    texts = [row["id"], row["task"], row["meta"], shape, *contents]
    if None in texts:
        raise ValueError(f"row {row['id']!r} has a text that is null")
    counts = COUNTS.pack(len(ranges) // 2, len(texts))
    numbers = struct.pack(f"<{len(ranges)}Q{len(texts)}I", *ranges, *accumulate(map(len, texts)))
    return counts + numbers + "".join(texts).encode()


def _encode(records: Iterator[tuple[bytes, list[bytes]]]) -> bytes:
    kept: list[bytes] = []
    digests: list[int] = []
    for number, (record, media) in enumerate(records):
        kept.append(record)
        digests.append(row_digest(number, record, media))
    at = HEAD.size + STRIDE * len(kept) + 8
    table: list[int] = []
    for record, value in zip(kept, digests, strict=True):
        table += (at, value)
        at += len(record)
    return HEAD.pack(MAGIC, len(kept)) + struct.pack(f"<{len(table) + 1}Q", *table, at) + b"".join(kept)

"""Shards of a split: which rows go into which file, decided from the source alone, and the writing of one of them.

Because the division is a pure function of the source, shards are written in any order, by several threads, and a lost
one is made again byte by byte. Parquet as in snapshots: zstd for texts, images as they are, page checksums.
Source: nine-datasets spec section 3, design section 4.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackyard.acquire.files.manifest import FileDigest
from trackyard.acquire.staging.closure import EntryClosure
from trackyard.acquire.staging.columns import embedded_schema, is_text, row_sums, stored_paths
from trackyard.acquire.staging.images import Embedder, ImageDigest, changed_batch
from trackyard.acquire.staging.survey import Survey
from trackyard.acquire.staging.tables import rows_between
from trackyard.digest import digest_file
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file
from trackyard.errors import DataError

SHARD_BYTES = 256_000_000
"""A shard ends once it holds this many bytes of images."""
GROUP_BYTES = 8_000_000
GROUP_ROWS = 256
"""Rows of a row group at most, as in snapshots: what one random access reads."""
ROW_BYTES = 256
"""Counted for each row beside its images, so that a split without any is divided too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Rows start to stop - 1 of a split. path: below the entry's folder; bytes: estimated."""

    path: str
    survey: Survey
    start: int
    stop: int
    bytes: int


def divide(closed: EntryClosure, survey: Survey, *, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """The shards of a split in order. Every row is in exactly one of them."""
    shards: list[Shard] = []
    start = row = size = 0
    name = survey.table.name

    def close() -> None:
        path = f"{name}/part-{len(shards):05d}.parquet"
        shards.append(Shard(path=path, survey=survey, start=start, stop=row, bytes=size))

    for batch in survey.table.batches():
        for count in row_bytes(batch, closed, survey).tolist():
            row, size = row + 1, size + count
            if size >= shard_bytes:
                close()
                start, size = row, 0
    if row > start:
        close()
    return shards


def row_bytes(batch: Any, closed: EntryClosure, survey: Survey) -> Any:
    """int64 [rows]: bytes of the images of each row, stored or pointed to, and `ROW_BYTES`."""
    total = np.full(batch.num_rows, ROW_BYTES, dtype=np.int64)

    def measure(values: Any) -> Any:
        paths = stored_paths(values).to_pylist()
        sizes = np.array([closed.references[path].bytes if path else 0 for path in paths], dtype=np.int64)
        if not is_text(values.type):
            inside = pc.fill_null(pc.binary_length(pc.struct_field(values, "bytes")), 0)
            sizes += inside.to_numpy(zero_copy_only=False)
        return sizes

    for leaf in (*survey.columns.images, *survey.columns.paths):
        total += row_sums(batch.column(leaf[0]), leaf[1:], measure)
    return total


def write_shard(folder: Path, shard: Shard, closed: EntryClosure) -> FileDigest:
    """Write one shard: to a temporary name, read back and compared, fsynced, then renamed. Returns its digest.

    Raises DataError if the source changed, or if what was written is not what was read.
    """
    path = folder / shard.path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}.{threading.get_ident()}")
    columns = shard.survey.columns
    schema = embedded_schema(shard.survey.table.schema, columns)
    written, read = ImageDigest(columns), ImageDigest(columns)
    try:
        with _writer(partial, schema) as writer:
            for group in _groups(shard, closed):
                embedded = changed_batch(group, schema, columns, Embedder(closed.references))
                written.add(embedded)
                writer.write_batch(embedded, row_group_size=embedded.num_rows)
        fsync_file(partial)
        with pq.ParquetFile(partial, page_checksum_verification=True) as back:
            for number in range(back.num_row_groups):
                for batch in back.read_row_group(number).combine_chunks().to_batches():
                    read.add(batch)
        if written.hexdigest() != read.hexdigest():
            raise DataError(
                what=f"{path} reads back other images than were written",
                why="the target's disk or memory lost bytes",
                fix="run the same command again; if it repeats, choose another target",
            )
        digest = FileDigest(shard.path, partial.stat().st_size, digest_file(partial))
        os.replace(partial, path)
    except pa.ArrowException as error:
        raise DataError(
            what=f"{path} cannot be written: {error}",
            why="a row of the source does not have the columns of the others",
            fix="build the cache again on the machine it comes from, and run the same command again",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    fsync_directory(path.parent)
    return digest


def _groups(shard: Shard, closed: EntryClosure) -> Iterator[Any]:
    """Record batches of one row group each."""
    for batch in rows_between(shard.survey.table, shard.start, shard.stop):
        sizes = row_bytes(batch, closed, shard.survey).tolist()
        start = size = 0
        for row, count in enumerate(sizes):
            if row > start and (size + count > GROUP_BYTES or row - start >= GROUP_ROWS):
                yield batch.slice(start, row - start)
                start, size = row, 0
            size += count
        yield batch.slice(start)


def _writer(path: Path, schema: Any) -> Any:
    """A writer of the form that snapshots have: images are stored as they are, everything else is compressed."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    parquet = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    leaves = [parquet.column(number).path for number in range(len(parquet))]
    binary = {leaf for leaf in leaves if leaf.rsplit(".", 1)[-1] == "bytes"}
    return pq.ParquetWriter(
        path,
        schema,
        compression={leaf: "none" if leaf in binary else "zstd" for leaf in leaves},
        use_dictionary=False,
        write_page_checksum=True,
        write_statistics=False,
    )

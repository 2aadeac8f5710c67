"""The stage that puts rows in the order in which they are taken, and keeps as many as the samples may need.

The order is that of SHA-256(seed || uid): a longer list begins with a shorter one, and the order of rows in their files
does not matter. Of all rows only 8 bytes each are held, three times over while they are sorted; whole rows lie in
buckets on disk, one of which is sorted at a time. Measured with 3.2 million rows: 0.4 GB at most where 286,720 are
kept, 0.5 GB where all are, 0.1 GB of both before the first row. Source: theworld section 7, select.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trackyard.digest import digest_file
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file
from trackyard.errors import DataError
from trackyard.recipes.datacomp.ingest.rows import BATCH_ROWS, PATTERN, ROWS, open_rows, order_key
from trackyard.recipes.datacomp.parameters import DataParameters
from trackyard.recipes.datacomp.results import write_result
from trackyard.recipes.datacomp.study import Study

CHUNK = 1 << 20
"""Keys that are gathered before they are sorted into those that are kept."""
BUCKET_ROWS = 1 << 17
"""Rows that are sorted at once; with copies about 0.2 GB. More, smaller buckets are more files at once."""
HELD_ROWS = 1 << 16
"""Rows that wait in memory for their buckets on disk, all buckets together."""
Heads = NDArray[np.uint64]
"""First 8 bytes of keys, as numbers."""
_KEYED = pa.schema([("key", pa.binary(32)), *ROWS])


def wanted_rows(data: DataParameters) -> int:
    """Rows that N samples may need, at the lowest acceptance that is allowed, in whole blocks: a later, larger N then
    goes on with the blocks that are there."""
    lowest = data.images.acceptance[0]
    rows = math.ceil(data.samples / lowest) if lowest else data.samples
    return math.ceil(rows / data.block_rows) * data.block_rows


def select(study: Study, say: Callable[[str], None]) -> None:
    """Write `Study.selected`, a row group for each block of `download`. DataError if there are no rows."""
    started, data = time.monotonic(), study.parameters.data
    files = sorted(study.metadata.glob(PATTERN))
    if not files:
        raise DataError(
            what=f"{study.metadata} holds no rows",
            why="there is nothing to select from",
            fix="trackyard run datacomp metadata",
        )
    study.selected.parent.mkdir(parents=True, exist_ok=True)
    found = write_in_order(files, study.selected, data.seed, most=wanted_rows(data), group_rows=data.block_rows)
    read = sum(pq.read_metadata(path).num_rows for path in files)
    header = study.header(
        "select",
        None,
        inputs={path.relative_to(study.root).as_posix(): digest_file(path) for path in files},
        device="cpu",
        wall_s=round(time.monotonic() - started, 3),
    )
    body = {
        "rows": read,
        "wanted": wanted_rows(data),
        "kept": found.kept,
        "repeated": found.repeated,
        "block_rows": data.block_rows,
        "digest": digest_file(study.selected),
    }
    write_result(study.document("select"), "select", header, body)
    say(f"select    {found.kept:,} of {read:,} rows for {data.samples:,} samples; {found.repeated:,} repeated")


class Written:
    """kept: rows of the file. repeated: rows before its end that had the uid of another one and were left out."""

    def __init__(self) -> None:
        self.kept = 0
        self.repeated = 0


def write_in_order(files: Sequence[Path], target: Path, seed: int, *, most: int, group_rows: int) -> Written:
    """The first `most` rows in keyed order; of rows with one uid that whose address, then text, comes first."""
    heads = _first_heads(files, seed, most)
    partial, written = target.with_name(f"{TEMPORARY}{target.name}"), Written()
    edges = heads[BUCKET_ROWS - 1 :: BUCKET_ROWS]
    with (
        TemporaryDirectory(prefix=TEMPORARY, dir=target.parent) as place,
        pq.ParquetWriter(partial, ROWS, compression="zstd", write_page_checksum=True) as writer,
    ):
        last = heads[-1] if len(heads) == most else None
        buckets = _spread(files, seed, edges=edges, last=last, place=Path(place))
        waiting: list[pa.Table] = []
        for bucket in buckets:
            table = _ordered(bucket, written)
            table = table.slice(0, most - written.kept)
            written.kept += table.num_rows
            waiting.append(table)
            whole = pa.concat_tables(waiting)
            done = whole.num_rows // group_rows * group_rows
            if done:
                writer.write_table(whole.slice(0, done), row_group_size=group_rows)
            waiting = [whole.slice(done)]
        if waiting and waiting[0].num_rows:
            writer.write_table(waiting[0], row_group_size=group_rows)
    fsync_file(partial)
    partial.replace(target)
    fsync_directory(target.parent)
    return written


def _keys(files: Sequence[Path], seed: int, columns: Sequence[str]) -> Iterator[tuple[list[bytes], pa.RecordBatch]]:
    """Rows of all files with their keys, streamed."""
    for path in files:
        with open_rows(path, stage="metadata") as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns), use_threads=False):
                yield [order_key(seed, uid) for uid in batch.column("uid").to_pylist()], batch


def _heads(keys: Sequence[bytes]) -> Heads:
    return np.frombuffer(b"".join(keys), dtype=">u8")[::4].astype(np.uint64)


def _first_heads(files: Sequence[Path], seed: int, most: int) -> Heads:
    """The `most` smallest heads, in order, each once.

    Two rows may share a head by chance; then one row more lies below the last head than is kept, never one less.
    """
    best, fresh, count = np.empty(0, np.uint64), list[Heads](), 0
    for keys, _ in _keys(files, seed, ["uid"]):
        fresh.append(_heads(keys))
        count += len(keys)
        if count >= CHUNK:
            best, fresh, count = _merged([best, *fresh], most), [], 0
    return _merged([best, *fresh], most)


def _merged(parts: Sequence[Heads], most: int) -> Heads:
    """As `np.unique`, with one copy of all heads less."""
    heads = np.concatenate(parts)
    heads.sort()
    first = np.ones(len(heads), bool)
    np.not_equal(heads[1:], heads[:-1], out=first[1:])
    return heads[first][:most]


def _spread(files: Sequence[Path], seed: int, *, edges: Heads, last: np.uint64 | None, place: Path) -> Iterator[Path]:
    """Rows up to the head `last` (None: all of them), in one file for each range of heads that `edges` close."""
    paths = [place / f"{number:05d}.parquet" for number in range(len(edges) + 1)]
    held: list[list[pa.Table]] = [[] for _ in paths]
    count = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(path, _KEYED, compression="lz4")) for path in paths]

        def flush() -> None:
            for writer, tables in zip(writers, held, strict=True):
                if tables:
                    writer.write_table(pa.concat_tables(tables))
                    tables.clear()

        for keys, batch in _keys(files, seed, ROWS.names):
            heads = _heads(keys)
            into = np.searchsorted(edges, heads)
            if last is not None:
                into[heads > last] = -1
            keyed = pa.table([pa.array(keys, pa.binary(32)), *batch.columns], schema=_KEYED)
            for number in np.unique(into[into >= 0]).tolist():
                chosen = keyed.take(pa.array(np.flatnonzero(into == number)))
                held[number].append(chosen)
                count += chosen.num_rows
            if count >= HELD_ROWS:
                flush()
                count = 0
        flush()
    yield from paths


def _ordered(bucket: Path, written: Written) -> pa.Table:
    """Rows of a bucket in order, each uid once; the file goes."""
    table = pq.read_table(bucket, use_threads=False)
    bucket.unlink()
    # Fixed-size keys cannot be sorted by this library.
    table = table.set_column(0, "key", table.column("key").cast(pa.binary()))
    by = [(name, "ascending") for name in ("key", "url", "text", "sha256")]
    table = table.take(pc.sort_indices(table, sort_keys=by)).combine_chunks()
    if table.num_rows > 1:
        key = table.column("key")
        first = pc.not_equal(key.slice(1), key.slice(0, table.num_rows - 1))
        mask = pa.concat_arrays([pa.array([True]), *first.chunks])
        written.repeated += table.num_rows - int(pc.sum(mask).as_py())
        table = table.filter(mask)
    return table.select(ROWS.names)

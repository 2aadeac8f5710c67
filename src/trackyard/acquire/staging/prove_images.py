"""Decoding staged images: a sample that is spread evenly over the rows, or all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.media import UnreadableMedia, probe_image
from trackyard.acquire.staging.closure import EntryClosure, FileFact
from trackyard.acquire.staging.columns import ImageColumns, leaves, stored_paths, values_at
from trackyard.acquire.staging.survey import ROWS, images_per_row

NAMED = 10


@dataclass(slots=True)
class Decoded:
    """images: decoded to their last pixel. problems: the first of those that could not be."""

    images: int = 0
    bad: int = 0
    named: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return [*self.named, *([f"and {self.bad - NAMED:,} more images"] if self.bad > NAMED else [])]

    def take(self, where: str, data: bytes | None, path: str | None) -> None:
        """Decode one image; without bytes, its path says what is missing."""
        problem = None
        if data is None:
            problem = f"{where}: the image {path} is not inside"
        else:
            try:
                probe_image(data, path or where)
                self.images += 1
            except UnreadableMedia as error:
                problem = f"{where}: {error.what}"
        if problem is not None:
            self.spoil(problem)

    def spoil(self, problem: str) -> None:
        """Note what could not be decoded."""
        self.bad += 1
        if len(self.named) < NAMED:
            self.named.append(problem)


def decode_shards(folder: Path, rows: Mapping[str, int], wanted: int | None) -> Decoded:
    """Decode images inside shards. rows: of each shard; wanted: how many images, None for all."""
    decoded = Decoded()
    picked = _picked(sum(rows.values()), wanted)
    first = 0
    for path, count in rows.items():
        mine = picked[(picked >= first) & (picked < first + count)] - first
        first += count
        if len(mine):
            try:
                _decode_shard(folder / path, mine, wanted, decoded, count)
            except (pa.ArrowException, OSError) as error:
                decoded.spoil(f"{folder / path}: {error}")
    return decoded


def _decode_shard(path: Path, picked: Any, wanted: int | None, decoded: Decoded, rows: int) -> None:
    with pq.ParquetFile(path, page_checksum_verification=True) as shard:
        if shard.metadata.num_rows != rows:
            decoded.spoil(f"{path} has {shard.metadata.num_rows:,} rows, {rows:,} are recorded")
            return
        columns = ImageColumns(
            images=tuple(leaf for leaf, kind in leaves(shard.schema_arrow) if kind == "image"), paths=()
        )
        first = 0
        for number in range(shard.num_row_groups):
            size = shard.metadata.row_group(number).num_rows
            mine = picked[(picked >= first) & (picked < first + size)] - first
            if len(mine):
                group = shard.read_row_group(number, columns=sorted({leaf[0] for leaf in columns.images}))
                (batch,) = group.combine_chunks().to_batches()
                _decode_rows(batch, columns, {}, mine, wanted, f"{path} row", first, decoded)
            first += size


def decode_arrow(closed: EntryClosure, wanted: int | None) -> Decoded:
    """Decode images of a relocated entry's evaluated split, from the files that its rows point to or from inside."""
    decoded = Decoded()
    split = closed.entry.nine.split if closed.entry.nine else ""
    surveys = [one for one in closed.surveys if one.table.name.rsplit("/", 1)[-1] == split]
    picked = _picked(sum(one.counts[ROWS] for one in surveys), wanted)
    first = 0
    for one in surveys:
        for batch in one.table.batches():
            mine = picked[(picked >= first) & (picked < first + batch.num_rows)] - first
            if len(mine):
                where = f"{closed.entry.name} row"
                _decode_rows(batch, one.columns, closed.references, mine, wanted, where, first, decoded)
            first += batch.num_rows
    return decoded


def _decode_rows(
    batch: Any,
    columns: ImageColumns,
    references: Mapping[str, FileFact],
    picked: Any,
    wanted: int | None,
    where: str,
    first: int,
    decoded: Decoded,
) -> None:
    """Decode the images of picked rows; of a sample one in each row, or in the next row that has one."""
    there = np.flatnonzero(images_per_row(batch, columns))
    if not len(there):
        return
    rows = np.unique(there[np.minimum(np.searchsorted(there, picked), len(there) - 1)])
    for row in rows.tolist():
        for data, path in islice(_images(batch.slice(row, 1), columns, references), None if wanted is None else 1):
            decoded.take(f"{where} {first + row}", data, path)


def _images(
    row: Any, columns: ImageColumns, references: Mapping[str, FileFact]
) -> Iterator[tuple[bytes | None, str | None]]:
    """(bytes, path) of each image of a row; bytes is None where no file is known."""
    for leaf in (*columns.images, *columns.paths):
        values = values_at(row.column(leaf[0]), leaf[1:])
        for path in stored_paths(values).drop_null().to_pylist():
            yield _file(references.get(path)), path
        if leaf in columns.images:
            for value in values.to_pylist():
                if value is not None and value["bytes"] is not None:
                    yield value["bytes"], value["path"]


def _file(fact: FileFact | None) -> bytes | None:
    try:
        return fact.placed.path.read_bytes() if fact else None
    except OSError:
        return None  # reported by its path


def _picked(rows: int, wanted: int | None) -> Any:
    """Row numbers, spread evenly and in rising order; all of them where all are wanted."""
    if wanted is None or wanted >= rows:
        return np.arange(rows)
    return np.unique(np.linspace(0, rows - 1, wanted).round().astype(np.int64))

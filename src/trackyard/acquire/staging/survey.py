"""What the rows of a split say: how many there are, how many have an image, and every path that they point to.

Source: nine-datasets spec section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trackyard.acquire.staging.columns import (
    ImageColumns,
    Leaf,
    image_columns,
    is_list,
    is_there,
    row_sums,
    stored_paths,
    values_at,
)
from trackyard.acquire.staging.tables import Table

ROWS = "rows"
IMAGE_ROWS = "rows with an image"


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """A table that was read once. counts: rows, rows with an image, and the items of each column that lists structs
    (questions of an image). paths: as stored, each once, in the order of the rows."""

    table: Table
    columns: ImageColumns
    counts: dict[str, int]
    paths: tuple[str, ...]


def survey(table: Table) -> Survey:
    """Read a table's paths and counts, without the bytes of its images. DataError if a file of it is damaged."""
    columns = image_columns(table)
    counts = {ROWS: 0, IMAGE_ROWS: 0}
    paths: dict[str, None] = {}
    for batch in table.batches():
        counts[ROWS] += batch.num_rows
        counts[IMAGE_ROWS] += int(np.count_nonzero(images_per_row(batch, columns)))
        for column, items in _listed(batch):
            counts[column] = counts.get(column, 0) + items
        for leaf in (*columns.images, *columns.paths):
            found = stored_paths(values_at(batch.column(leaf[0]), leaf[1:]))
            paths.update(dict.fromkeys(pc.unique(found.drop_null()).to_pylist()))
    return Survey(table=table, columns=columns, counts=counts, paths=tuple(paths))


def images_per_row(batch: Any, columns: ImageColumns) -> Any:
    """int64 [rows]: images stored in or pointed to by each row."""
    total = np.zeros(batch.num_rows, dtype=np.int64)
    for leaf in (*columns.images, *columns.paths):
        total += row_sums(batch.column(leaf[0]), leaf[1:], is_there)
    return total


def _listed(batch: Any) -> Iterator[tuple[str, int]]:
    """(column, items) of columns that are lists of structs, or structs of lists, which `datasets` makes of some."""
    for field in batch.schema:
        kind = field.type
        leaf: Leaf = ()
        if pa.types.is_struct(kind) and kind.num_fields and all(is_list(part.type) for part in kind):
            leaf = (kind.field(0).name,)
        elif not (is_list(kind) and pa.types.is_struct(kind.value_type)):
            continue
        lengths = pc.list_value_length(values_at(batch.column(field.name), leaf))
        yield field.name, pc.sum(lengths).as_py() or 0


def added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Counts of several tables, added by name."""
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total


def agrees(counts: dict[str, int], samples: int) -> bool:
    """Whether a split holds the stated samples: some caches have a row for each, others an image with its questions."""
    return samples in counts.values()

"""The lengths of every usable row of every dataset in one table, so that draws from many datasets are one look-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError

COLUMNS = ("row", "tokens", "visual", "inputs", "labels")
ROW = np.dtype([("row", "<u4"), *((name, "<i4") for name in COLUMNS[1:])])
"""row: number of the row when the rows of all datasets are counted on, as in the plan file (`Plan.rows`)."""
MOST_ROWS = 1 << 32
"""Row numbers of all datasets together are kept in 32 bits."""

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class RowTable:
    """rows: `ROW` of all usable rows; start [datasets]: where those of each dataset begin."""

    rows: NDArray[np.void]
    start: NDArray[np.int64]

    def of(self, dataset: Ints, place: Ints) -> NDArray[np.void]:
        """`ROW` [k] of position `place` [k] (0..usable-1) of dataset number `dataset` [k]."""
        found: NDArray[np.void] = self.rows[self.start[dataset] + place]
        return found


def spans(rows: Sequence[Ints]) -> list[int]:
    """Row numbers that each dataset takes: its last usable row and all before. rows: usable row numbers of each.

    Raises ConfigError if all together are more than a plan can number.
    """
    found = [int(numbers.max(initial=-1)) + 1 for numbers in rows]
    if sum(found) > MOST_ROWS:
        raise ConfigError(
            what=f"the datasets have {sum(found):,} rows together",
            why=f"a plan numbers the rows of all its datasets in 32 bits, which reaches to {MOST_ROWS:,}",
            fix="name fewer or smaller datasets in the mixture of the stage",
        )
    return found


def row_table(columns: Sequence[Sequence[Ints]]) -> RowTable:
    """Put together the columns of every dataset: row numbers in its snapshot, tokens, visual, inputs and labels."""
    start = np.cumsum([0, *(len(rows) for rows, *_ in columns)])
    first = np.cumsum([0, *spans([rows for rows, *_ in columns])])
    table = np.empty(start[-1], ROW)
    for number, (rows, *lengths) in enumerate(columns):
        part = table[start[number] : start[number + 1]]
        part["row"] = rows + first[number]
        for name, column in zip(COLUMNS[1:], lengths, strict=True):
            part[name] = column
    return RowTable(rows=table, start=start[:-1])

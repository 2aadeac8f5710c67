"""Planned rows back to their places in the index: which usable row of its dataset each is, and how long it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trackyard.plan.inputs import DatasetInput

LENGTHS = ("tokens", "visual", "inputs", "labels")
"""Columns of the index, in the order of a plan's table of steps."""

Int64s = NDArray[np.int64]


class Places:
    """The datasets of a plan, in its order, none of their columns copied."""

    def __init__(self, datasets: Sequence[DatasetInput]) -> None:
        self.datasets = datasets
        # An index lists usable rows in ascending order. Where one does not, positions are sorted once.
        self._orders = [
            None if (np.diff(data.rows) > 0).all() else np.argsort(data.rows, kind="stable") for data in datasets
        ]

    def of(self, dataset: Int64s, row: Int64s) -> tuple[Int64s, Int64s]:
        """Positions [k] among the usable rows of their datasets, and `LENGTHS` [k, 4], of rows [k] of a plan.

        A row that is not usable has position -1 and no length.
        """
        place = np.full(len(row), -1, dtype=np.int64)
        lengths = np.zeros((len(row), len(LENGTHS)), dtype=np.int64)
        # In order, the rows of a dataset lie together, and looking them up goes once through its memory.
        ascending = np.argsort((dataset << 32) + row)
        bounds = np.searchsorted(dataset[ascending], np.arange(len(self.datasets) + 1))
        for number, (data, order) in enumerate(zip(self.datasets, self._orders, strict=True)):
            own = ascending[bounds[number] : bounds[number + 1]]
            if not own.size or not len(data.rows):
                continue
            at = np.minimum(np.searchsorted(data.rows, row[own], sorter=order), len(data.rows) - 1)
            at = at if order is None else order[at]
            there = data.rows[at] == row[own]
            own, at = own[there], at[there]
            place[own] = at
            for column, name in enumerate(LENGTHS):
                lengths[own, column] = getattr(data, name)[at]
        return place, lengths

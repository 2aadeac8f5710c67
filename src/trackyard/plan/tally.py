"""Sums over a plan, taken while it is packed: per step, per mixture entry, and where every pack ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackyard.plan.packing import Rows
from trackyard.plan.plan import OFFSET, STEP_COLUMNS

Int64s = NDArray[np.int64]


class Tally:
    """steps [steps, 5]: `plan.STEP_COLUMNS`; entries [entries, 3]: rows, tokens and visual tokens drawn.

    offsets [packs + 1]: number of the first row of every pack; packs, rows: how many were added.
    """

    def __init__(self, *, steps: int, packs_per_step: int, entries: int) -> None:
        self.steps = np.zeros((steps, len(STEP_COLUMNS)), dtype=np.int64)
        self.entries = np.zeros((entries, 3), dtype=np.int64)
        self.offsets = np.zeros(steps * packs_per_step + 1, dtype=OFFSET)
        self.packs = 0
        self.rows = 0
        self._packs_per_step = packs_per_step

    def add(self, rows: Rows, sizes: Int64s) -> None:
        """Count packs of `sizes` [packs] rows each. rows: `compose.DRAW` of one pack after the other."""
        if not len(sizes):
            return
        ends = np.cumsum(sizes)
        columns = np.stack([rows[name] for name in ("tokens", "visual", "inputs", "labels")], axis=1, dtype=np.int64)
        step = np.arange(self.packs, self.packs + len(sizes)) // self._packs_per_step
        np.add.at(self.steps[:, :4], step, np.add.reduceat(columns, ends - sizes))
        np.add.at(self.steps[:, 4], step, sizes)
        np.add.at(self.entries[:, 0], rows["entry"], 1)
        np.add.at(self.entries[:, 1:], rows["entry"], columns[:, :2])
        self.offsets[self.packs + 1 : self.packs + 1 + len(sizes)] = self.rows + ends
        self.packs += len(sizes)
        self.rows += len(rows)

"""Sums of a plan, added block by block of packs that end within steps."""

from __future__ import annotations

import numpy as np

from trackyard.plan.compose import DRAW
from trackyard.plan.tally import Tally


def test_sums() -> None:
    rows = np.zeros(5, DRAW)
    rows["tokens"], rows["visual"], rows["inputs"], rows["labels"] = [1, 2, 3, 4, 5], 10, [0, 1, 0, 1, 0], 7
    rows["entry"] = [0, 1, 0, 0, 1]
    tally = Tally(steps=2, packs_per_step=2, entries=3)
    tally.add(rows[:0], np.zeros(0, dtype=np.int64))
    tally.add(rows[:3], np.array([2, 1]))
    tally.add(rows[3:4], np.array([1]))
    tally.add(rows[4:], np.array([1]))
    assert (tally.packs, tally.rows) == (4, 5)
    assert tally.steps.tolist() == [[6, 30, 1, 21, 3], [9, 20, 1, 14, 2]]
    assert tally.entries.tolist() == [[3, 8, 30], [2, 7, 20], [0, 0, 0]]
    assert tally.offsets.tolist() == [0, 2, 3, 4, 5]

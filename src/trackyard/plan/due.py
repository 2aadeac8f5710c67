"""Which draws a plan must hold: the first of its mixture, row by row, to be ticked off one after the other.

Source: molmo2 spec section 4.5. Of a dataset with c draws and n usable rows, every row is due once in each epoch before
c // n, and c % n rows are due in that one; only for those is the permutation computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.plan.draw import counts_before
from trackyard.plan.permutation import permutation_key, permute
from trackyard.plan.plan import Plan

BLOCK = 1 << 18
"""Draws computed together."""

Ints = NDArray[np.integer[Any]]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """One mark for every row in every epoch of its dataset: due or not, drawn or not.

    sizes, epochs [datasets]: usable rows, and epochs begun; starts [datasets + 1]: first mark of each dataset;
    due, drawn [marks]: at mark `start + epoch * size + place`.
    """

    sizes: Int64s
    epochs: Int64s
    starts: Int64s
    due: Bools
    drawn: Bools

    def draw(self, dataset: Ints, place: Ints, epoch: Ints) -> tuple[Int64s, Int64s]:
        """Tick off draws, each [k]. Returns which of them are not due, and which were ticked off before."""
        within = (epoch >= 0) & (epoch < self.epochs[dataset])
        inside = np.flatnonzero(within)
        mark = (self.starts[dataset] + epoch * self.sizes[dataset] + place)[inside]
        not_due = ~within
        not_due[inside] = ~self.due[mark]
        again = np.zeros(len(within), dtype=np.bool_)
        again[inside] = self.drawn[mark]
        self.drawn[mark] = True
        ordered = np.sort(mark)
        if (ordered[1:] == ordered[:-1]).any():
            later = np.ones(len(mark), dtype=np.bool_)
            later[np.unique(mark, return_index=True)[1]] = False
            again[inside[later]] = True
        return np.flatnonzero(not_due), np.flatnonzero(again)

    def never_drawn(self) -> Iterator[tuple[int, int, int, int]]:
        """Of each dataset with draws left over: its number, place and epoch of the first, and how many there are."""
        for number in range(len(self.sizes)):
            here = slice(self.starts[number], self.starts[number + 1])
            left = np.flatnonzero(self.due[here] & ~self.drawn[here])
            if left.size:
                epoch, place = divmod(int(left[0]), int(self.sizes[number]))
                yield number, place, epoch, left.size


def due_draws(plan: Plan, sizes: Sequence[int]) -> Due:
    """Everything due in a plan, nothing drawn yet; two bytes per row and epoch begun. sizes [datasets]: usable rows."""
    stated = plan.inputs["rates"]
    counts = counts_before([rate for *_, rate in stated], len(plan.rows))
    drawn = np.zeros(len(sizes), dtype=np.int64)
    np.add.at(drawn, [plan.datasets.index(dataset) for _, dataset, _ in stated], counts)
    size = np.array(sizes, dtype=np.int64)
    epochs = -(-drawn // np.maximum(size, 1))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(epochs * size)])
    due = np.zeros(starts[-1], dtype=np.bool_)
    for name, rows, count, start in zip(plan.datasets, sizes, drawn.tolist(), starts.tolist(), strict=False):
        if not count:
            continue
        epoch, rest = divmod(count, rows)
        begun = start + epoch * rows
        due[start:begun] = True
        key = permutation_key(plan.seed, name, epoch)
        for low in range(0, rest, BLOCK):
            due[begun + permute(np.arange(low, min(low + BLOCK, rest)), rows, key)] = True
    return Due(sizes=size, epochs=epochs, starts=starts, due=due, drawn=np.zeros_like(due))

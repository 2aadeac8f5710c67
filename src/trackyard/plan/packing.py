"""Packing rows into sequences under two budgets: tokens and image inputs.

Source: molmo2 spec section 9. Two things differ from the release's solver, both in favour of fill: rows are packed by
exact lengths, not lengths rounded up to 32 tokens; and every pack contains the most valuable row of the pool. Without
the second, awkward rows pile up in the pool: on the seeded trace of the packing benchmark fill is 0.87 without it and
0.925 with it, where the bound is 0.930. The loops are in `solver`, which is imported when something is packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError

POOL = 48
"""Rows that the packer chooses from, as in the release."""
IMAGE_WEIGHT = 30
"""Tokens that one image input is worth in the objective; stage 1 uses 1."""
NODES = 300
"""Subsets looked at per pack in pools above `solver.SMALL` rows; 3,000 raise fill by 0.003 and take far longer."""

Int64s = NDArray[np.int64]
Rows = NDArray[np.void]
"""Structured array with fields `tokens` and `inputs`, and whatever else travels with a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of one pack. tokens: sequence length L; inputs: image crops and video frames I."""

    tokens: int
    inputs: int

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.inputs < 0:
            raise ConfigError(
                what=f"budget of {self.tokens} tokens and {self.inputs} inputs",
                why="no row fits such a pack",
                fix="set the sequence length to at least 1 and the input limit to at least 0",
            )

    def too_large(self, tokens: NDArray[Any], inputs: NDArray[Any]) -> Int64s:
        """Positions of the rows, given by aligned arrays of lengths, that fit no pack."""
        wrong = (tokens > self.tokens) | (tokens < 1) | (inputs > self.inputs) | (inputs < 0)
        return np.flatnonzero(wrong)

    def refusal(self, tokens: int, inputs: int, *, row: str) -> ConfigError:
        """The error for a row of such lengths; row: its name for people."""
        return ConfigError(
            what=f"{row} has {tokens} tokens and {inputs} inputs; a pack takes {self.tokens} and {self.inputs}",
            why="a row is never cut inside the packer, where nobody would see it",
            fix="raise max_tokens and max_inputs of the stage, or leave the row out of the snapshot",
        )


def best_subset(
    tokens: Sequence[int],
    inputs: Sequence[int],
    *,
    budget: Budget,
    image_weight: int = IMAGE_WEIGHT,
    with_heaviest: bool = False,
    nodes: int = NODES,
) -> list[int]:
    """Positions, ascending, of the subset with the largest sum of `tokens + image_weight * inputs` within the budget.

    Exact for up to 12 rows; for more, branch and bound stops after `nodes` subsets. The first path it follows is the
    first bin of first-fit decreasing, so the result is never worth less. Ties go to the subset found first.
    Every row must fit a pack of its own. with_heaviest: only subsets that contain the most valuable row.
    """
    from trackyard.plan import solver

    t, i, order = _pool(tokens, inputs, image_weight)
    found = np.empty(len(t), np.int64)
    count = solver.best(t, i, len(t), image_weight, budget.tokens, budget.inputs, with_heaviest, nodes, found)
    return sorted(order[found[:count]].tolist())


def first_fit_decreasing(
    tokens: Sequence[int], inputs: Sequence[int], *, budget: Budget, image_weight: int = IMAGE_WEIGHT
) -> list[list[int]]:
    """Bins of positions: rows by decreasing value, each into the first bin with room. Every row must fit a bin."""
    from trackyard.plan import solver

    t, i, order = _pool(tokens, inputs, image_weight)
    bins = np.empty(len(t), np.int64)
    count = solver.first_fit(t, i, len(t), budget.tokens, budget.inputs, bins)
    return [sorted(order[bins == number].tolist()) for number in range(count)]


def _pool(tokens: Sequence[int], inputs: Sequence[int], image_weight: int) -> tuple[Int64s, Int64s, Int64s]:
    """Lengths by decreasing value, earlier rows first among equals, and the position of each."""
    t, i = np.asarray(tokens, dtype=np.int64), np.asarray(inputs, dtype=np.int64)
    order = np.argsort(-t - image_weight * i, kind="stable")
    return t[order], i[order], order


def pack_stream(
    blocks: Iterable[Rows],
    *,
    budget: Budget,
    total: int,
    image_weight: int = IMAGE_WEIGHT,
    pool: int = POOL,
) -> Iterator[tuple[Rows, Int64s]]:
    """Yield exactly `total` packs, none empty, some at a time: their rows one after the other, and rows per pack.

    blocks: the draws in order, in pieces of any length, endless. Rows of a pack are in draw order. The packs together
    hold a prefix of the draws, each once: near the end a draw is taken only while first-fit decreasing still packs all
    that is waiting into the packs that remain. Raises ConfigError for a row that fits no pack, ValueError where the
    draws end before the packs do.
    """
    from trackyard.plan import solver

    done = drawn = 0
    waiting: Rows | None = None
    left = np.empty(pool, np.int64)
    for block in blocks:
        for place in budget.too_large(block["tokens"], block["inputs"])[:1]:
            raise budget.refusal(block["tokens"][place], block["inputs"][place], row=f"draw {drawn + place}")
        drawn += len(block)
        rows = block if waiting is None else np.concatenate([waiting, block])
        members, sizes = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        packs, size = solver.fill(
            rows["tokens"].astype(np.int64), rows["inputs"].astype(np.int64), 0 if waiting is None else len(waiting),
            image_weight, budget.tokens, budget.inputs, pool, total - done, NODES, members, sizes, left,
        )  # fmt: skip
        done += packs
        sizes = sizes[:packs]
        yield rows[members[: sizes.sum()]], sizes
        if done == total:
            return
        waiting = rows[np.sort(left[:size])]
    raise ValueError(f"{drawn} draws made {done} packs of {total}")

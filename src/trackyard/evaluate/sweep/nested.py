"""Which decoder blocks run when n of them do: sets by importance, each inside the next larger one.

Source: nine-datasets spec section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from trackyard.errors import ConfigError, DataError


def kept(scores: Sequence[float | None], number: int) -> tuple[int, ...]:
    """Indices of the blocks that run, rising: the first, the last, and the most important others; ties: lower index.

    scores: importance of each block [layers]; what is said of the first and the last does not matter, as stock models
    read the length of their cache from block 0. ConfigError for a number of blocks that the model cannot keep,
    DataError for an inner block without a score.
    """
    layers = len(scores)
    if not min(2, layers) <= number <= layers:
        raise ConfigError(
            what=f"{number} of {layers} blocks are to run",
            why="the first and the last block always run, and there are no more than all of them",
            fix=f"choose knobs.blocks in params.yaml so that {min(2, layers)} to {layers} blocks run",
        )
    inner: list[tuple[float, int]] = []
    for block, score in enumerate(scores[1:-1], start=1):
        if score is None or not isfinite(score):
            raise DataError(
                what=f"block {block} of {layers} has the importance {score}",
                why="it cannot be said which blocks are the most important ones",
                fix="measure the importance again: trackyard run nine importance",
            )
        inner.append((-score, block))
    chosen = [block for _, block in sorted(inner)[: max(0, number - 2)]]
    return tuple(sorted({0, layers - 1, *chosen}))

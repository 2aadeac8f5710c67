"""The seeded trace of rows that packers are measured with: lengths of a multimodal corpus. NumPy only, since peers draw
it as well. Source: performance spec section 10.4."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 0
TOKENS, INPUTS = 16_384, 128
"""Budgets of a pack."""

Ints = NDArray[np.integer[Any]]


def row_trace(rows: int, random: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Tokens, image inputs and kind (0 text, 1 image, 2 several images, 3 video) of `rows` rows."""

    def lognormal(mean: float, spread: float, low: int, high: int) -> Ints:
        return np.clip(random.lognormal(mean, spread, rows), low, high).astype(np.int32)

    kind = random.choice(4, rows, p=(0.25, 0.40, 0.10, 0.25))
    frames = lognormal(4.2, 0.7, 8, 128)
    video = 83 * frames + random.integers(20, 800, rows)
    tokens = [lognormal(5.8, 0.9, 20, 4000), lognormal(7.2, 0.4, 300, 4000), lognormal(8.0, 0.4, 800, 8000), video]
    inputs = [np.zeros(rows, np.int64), random.integers(1, 9, rows), random.integers(4, 40, rows), frames]
    return np.choose(kind, tokens), np.choose(kind, inputs), kind

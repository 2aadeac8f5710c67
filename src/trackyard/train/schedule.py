"""Learning rates: linear warm-up, cosine to ten per cent. Source: molmo2 spec section 2."""

from __future__ import annotations

import math

FLOOR = 0.1
"""Share of the base rate that is left at the end."""


def learning_rate(step: int, *, base: float, warmup: int, total: int) -> float:
    """Rate applied to update number `step` (0-based) of `total`; `warmup` in steps."""
    if step < warmup:
        return base * step / warmup
    if step >= total:
        return base * FLOOR
    return base * (FLOOR + (1 - FLOOR) / 2 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))))

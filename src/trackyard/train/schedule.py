"""Learning rates: linear warm-up, then a cosine to ten per cent or a line to 0.

Sources: molmo2 spec section 2, pile-ffn spec section 6.
"""

from __future__ import annotations

import math

from trackyard.train.parameters import Schedule

FLOOR = 0.1
"""Share of the base rate that a cosine leaves at the end."""


def learning_rate(step: int, *, base: float, warmup: int, total: int, schedule: Schedule = "cosine") -> float:
    """Rate applied to update number `step` (0-based) of `total`; `warmup` in steps."""
    if step < warmup:
        return base * step / warmup
    if schedule == "linear":
        return base * max(0, total - step) / max(1, total - warmup)
    if step >= total:
        return base * FLOOR
    return base * (FLOOR + (1 - FLOOR) / 2 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))))

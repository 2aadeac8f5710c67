"""How long to wait before Slurm is asked once more: ever longer, and not everybody at the same moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

FIRST_S, LONGEST_S = 2.0, 60.0
_JITTER = 0.2
"""The share of a wait by which it may be shorter."""


def waits(*, uniform: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds: 2, 4, 8, … 60, 60, each shortened by a random part of a fifth of it (hpc spec section 4.3).

    uniform: random numbers from 0 to 1.
    """
    wait = FIRST_S
    while True:
        yield wait * (1 - _JITTER * uniform())
        wait = min(2 * wait, LONGEST_S)

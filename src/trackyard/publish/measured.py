"""A metric as a card states it: the value, how many examples it is over, and the interval that the record allows."""

from __future__ import annotations

from dataclasses import dataclass

from trackyard.evaluate.intervals import wilson

WILSON = "Wilson's of a share, as if every example stood alone"
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """name: what it is of, and last what is measured. low, high: ends of its 95 % interval, found by `how`; None where
    the record allows none.

    over: what `n` counts. start: the same metric of the weights that training began with. chance: of guessing.
    """

    name: str
    value: float
    n: int
    over: str
    low: float | None = None
    high: float | None = None
    how: str = "none"
    start: float | None = None
    chance: float | None = None


def share(
    name: str, value: float, n: int, over: str, *, start: float | None = None, chance: float | None = None
) -> Measured:
    """A mean of scores in [0, 1]; with Wilson's interval where it can be one of n scores that are 0 or 1."""
    count = round(value * n)
    if n < 1 or abs(value * n - count) > _ROUNDING:
        return Measured(name=name, value=value, n=n, over=over, start=start, chance=chance)
    ends = wilson(count, n)
    return Measured(
        name=name, value=value, n=n, over=over, low=ends.low, high=ends.high, how=WILSON, start=start, chance=chance
    )

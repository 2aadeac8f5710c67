"""Which samples warm a configuration up, and which count. Source: nine-datasets spec section 7."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.latency.timing import Timing

LEAST, MOST = 3, 100
SETTLED = 0.02
"""Share of itself by which the running median moves less once a device is warm."""


class WarmUp:
    """The rule: at least `least` samples, then until the median of all so far moves by less than `SETTLED`.

    The median is of the time to the first token. That of the whole answer would move with the lengths of answers, and a
    warm device would go on being warmed.
    """

    def __init__(self, *, least: int = LEAST) -> None:
        if not LEAST <= least < MOST:
            raise ConfigError(
                what=f"a warm-up of at least {least} samples",
                why=f"fewer than {LEAST} leave the first, slow ones in what is reported; {MOST} are the most there are",
                fix=f"choose {LEAST} to {MOST - 1}",
            )
        self._least = least
        self._seen: list[float] = []
        self._medians: list[float] = []

    def add(self, timing: Timing) -> None:
        """A sample. DataError once `MOST` of them have not settled."""
        self._seen.append(timing.t_first_ms)
        self._medians.append(median(self._seen))
        if len(self._seen) >= MOST and not self.over:
            raise DataError(
                what=f"after {len(self._seen)} samples the median still moves, "
                f"from {self._medians[-2]:.3f} to {self._medians[-1]:.3f} ms",
                why="what is timed on a machine that does not settle says nothing about the model",
                fix="end what else runs on the machine, and run the latency stage again",
            )

    @property
    def over(self) -> bool:
        """Whether samples count from here on."""
        if len(self._seen) < self._least:
            return False
        before, now = self._medians[-2:]
        return abs(now - before) < SETTLED * before


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """One measured sample. warmup: it is recorded and not counted."""

    id: str
    timing: Timing
    warmup: bool


def take_samples(
    ids: Sequence[str], measure: Callable[[str], Timing], warm_up: WarmUp, *, left: Sequence[str] | None = None
) -> Iterator[Taken]:
    """Warm up on `ids`, from the first on and round again if need be, then measure each of `left` (default: all) once.

    Samples of the warm-up are measured again, so that the same ones count for every configuration, however long its
    warm-up was. left: those that an earlier process, which warmed up for itself, did not come to.
    """
    counted = ids if left is None else left
    for name in cycle(ids):
        if warm_up.over or not counted:
            break
        timing = measure(name)
        warm_up.add(timing)
        yield Taken(id=name, timing=timing, warmup=True)
    for name in counted:
        yield Taken(id=name, timing=measure(name), warmup=False)

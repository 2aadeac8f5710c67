"""The last value of every metric of a run, found while its spools are read once, without keeping a point.

The same as the last of the points that `record.points` delivers: the largest step, and of it the first spooled value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Final(NamedTuple):
    """The last value of a metric, and the step that it is of."""

    value: float
    step: int


class Finals(Mapping[str, Final]):
    """By name, for as many lines as were added; attempts in their order.

    Two dictionaries of numbers instead of one of pairs: a million metrics of thousands of runs are then no objects that
    are made, and looked through again and again for cycles, before anybody asks for one.
    """

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        self._newest: float = float("-inf")
        self._lost: set[tuple[str, int]] = set()

    def __getitem__(self, name: str) -> Final:
        return Final(float(self._values[name]), self._steps[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """A line of finite numbers."""
        if step > self._newest and not self._lost:
            # The usual line, of a step that none was of: all of its values are newest, and no Python runs for each.
            self._newest = step
            self._values.update(values)
            self._steps.update(dict.fromkeys(values, step))
            return
        self._newest = max(self._newest, step)
        for key, value in values.items():
            if self._is_later(key, step) and (key, step) not in self._lost:
                self._values[key], self._steps[key] = value, step

    def lose(self, step: int, names: Mapping[str, object]) -> None:
        """A line of numbers that are not finite: where one comes first, no later value of that step is delivered."""
        self._lost.update((key, step) for key in names if self._is_later(key, step))

    def settle(self) -> tuple[str, ...]:
        """After the last line: metrics whose newest value is not finite, which are no longer held here.

        An earlier value of a run that diverged is not what it came to.
        """
        no_number = sorted({key for key, step in self._lost if self._is_later(key, step)})
        for key in no_number:
            self._values.pop(key, None)
            self._steps.pop(key, None)
        return tuple(no_number)

    def _is_later(self, key: str, step: int) -> bool:
        last = self._steps.get(key)
        return last is None or step > last

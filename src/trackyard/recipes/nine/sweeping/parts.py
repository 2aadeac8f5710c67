"""Parts of a stage's work: those that several machines do, and within one those of its GPUs or cores.

Source: nine-datasets spec section 6 (disjoint, without padding).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from trackyard.errors import ConfigError

T = TypeVar("T")
_FORM = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Part:
    """Every `of`-th piece of the work, from the `number`-th on, counted from 0."""

    number: int
    of: int

    @property
    def name(self) -> str:
        """For people and file names."""
        return f"{self.number}-of-{self.of}"

    def of_list(self, pieces: Sequence[T]) -> list[T]:
        """Disjoint, together everything, sizes differ by one at most."""
        return list(pieces[self.number :: self.of])

    def divided(self, among: int) -> list[Part]:
        """As many parts, which together are this one."""
        return [Part(self.number + self.of * each, self.of * among) for each in range(among)]


WHOLE = Part(0, 1)


def part_named(text: str | None, *, again: str) -> Part:
    """A part "K/N", or the whole. again: the command that a part is written behind. ConfigError for what is neither."""
    if text is None:
        return WHOLE
    found = _FORM.fullmatch(text)
    if found is None or int(found[1]) >= int(found[2]):
        raise ConfigError(
            what=f"{text!r} is no part of the work",
            why="a part is K/N, with K from 0 to N - 1: piece K, K + N, and so on",
            fix=f"{again} 0/4, or without a part for everything",
        )
    return Part(int(found[1]), int(found[2]))

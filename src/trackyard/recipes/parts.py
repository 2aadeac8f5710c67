"""Parts of a stage's work: those that several machines do, and within one those of its GPUs or cores.

`--shard K/N` names one. Source: nine-datasets spec section 6 (disjoint, without padding).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trackyard.errors import ConfigError
from trackyard.exclusive import exclusive

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
    """A part "K/N", or the whole. again: the command that `--shard` stands behind. ConfigError for what is neither."""
    if text is None:
        return WHOLE
    found = _FORM.fullmatch(text)
    if found is None or int(found[1]) >= int(found[2]):
        raise ConfigError(
            what=f"{text!r} is no part of the work",
            why="a part is K/N, with K from 0 to N - 1: piece K, K + N, and so on",
            fix=f"{again} --shard 0/4, or without it for everything",
        )
    return Part(int(found[1]), int(found[2]))


@contextmanager
def alone(folder: Path, stage: str, part: Part, *, what: str, why: str) -> Iterator[None]:
    """No other process does this part; and the whole is not begun while any part that has begun is still done.

    folder: of the lock files. TrackyardError names who is at it. A part whose process died, here or elsewhere, is free.
    """
    locks = [folder / (f"{stage}-{part.name}.lock" if part != WHOLE else f"{stage}.lock")]
    if part == WHOLE:
        locks += sorted(folder.glob(f"{stage}-*-of-*.lock"))
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(exclusive(lock, what=f"{what} ({lock.stem})", why=why))
        yield

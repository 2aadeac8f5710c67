"""Parts of a stage's work: those that several machines do, and within one those of its GPUs or cores.

`--shard K/N` names one. Source: nine-datasets spec section 6 (disjoint, without padding).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.exclusive import exclusive

T = TypeVar("T")
LOOK_S = 30.0
"""How long a part looks whether the whole is being done: parts that begin at once look one after the other."""
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


def tell_if_empty(part: Part, pieces: int, say: Callable[[str], None]) -> None:
    """One line where a part has none of so many pieces: more parts than pieces is no error, and must not be silent."""
    if part.number >= pieces:
        say(f"part      {part.number}/{part.of} has nothing to do: there are {pieces} pieces of this stage")


@contextmanager
def alone(folder: Path, stage: str, part: Part, *, what: str, why: str) -> Iterator[None]:
    """No other process does this part; and no part is done beside the whole, or beside one of another division.

    folder: of the lock files. TrackyardError names who is at it. What a process held that died is free again.
    """
    whole = folder / f"{stage}.lock"
    own = whole if part == WHOLE else folder / f"{stage}-{part.name}.lock"
    with ExitStack() as held:
        held.enter_context(exclusive(own, what=f"{what} ({own.stem})", why=why))
        if part == WHOLE:
            for lock in sorted(folder.glob(f"{stage}-*-of-*.lock")):
                held.enter_context(exclusive(lock, what=f"{what} ({lock.stem})", why=why))
        else:
            # Looked at with the own lock in hand: of two that begin at once one at least sees the other.
            others = [lock for lock in folder.glob(f"{stage}-*-of-*.lock") if not lock.stem.endswith(f"-of-{part.of}")]
            for lock in [whole, *sorted(others)]:
                _free(lock, what=f"{what} ({lock.stem})", why=why)
        yield


def _free(lock: Path, *, what: str, why: str) -> None:
    """Return once nobody holds `lock`: other parts do for a moment, as they look. TrackyardError names who keeps it."""
    limit = time.monotonic() + LOOK_S
    while True:
        try:
            with exclusive(lock, what=what, why=why):
                return
        except EnvironmentLacking:
            raise
        except TrackyardError:
            if time.monotonic() > limit:
                raise
        time.sleep(random.uniform(0.0, 0.2))

"""How a long piece of work is watched and stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from trackyard.errors import StoppedEarly

A = TypeVar("A")
B = TypeVar("B")

Progress = Callable[[str, int, int], None]
"""Called with the entry, its bytes done and its bytes in all."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """should_stop: asked between files; true ends the work with StoppedEarly. streams: files at a time."""

    streams: int = 4
    progress: Progress | None = None
    should_stop: Callable[[], bool] = never

    def check(self) -> None:
        """StoppedEarly once a stop was asked for."""
        if self.should_stop():
            raise StoppedEarly(
                what="staging stopped on request, before everything was copied",
                why="what is finished is on disk and recorded",
                fix="run the same command again: it goes on where it stopped",
            )

    def tell(self, name: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(name, done, total)


def in_streams(watch: Watch, work: Callable[[A], B], items: Iterable[A]) -> Iterator[tuple[A, B]]:
    """Do the items, `watch.streams` at a time, and yield each with its result as it ends.

    An error, or a request to stop, ends it once what has begun is over.
    """
    with ThreadPoolExecutor(watch.streams, thread_name_prefix="staging") as pool:
        running: dict[Future[B], A] = {}
        for one in items:
            watch.check()
            running[pool.submit(work, one)] = one
            while len(running) >= watch.streams:
                yield from _ended(running)
        while running:
            yield from _ended(running)


def _ended(running: dict[Future[B], A]) -> Iterator[tuple[A, B]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()

"""The flow from URLs to settled parts: downloads run across the borders of shards, parts are written in their order.

A straggler delays the writing of its own part and of those after it, never a download. What waits for a worker is
capped in bytes, what waits for its part to be written lies on disk.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.acquire.images.check import Refused
from trackyard.acquire.images.markers import Marker
from trackyard.acquire.images.outcomes import OK
from trackyard.acquire.images.pinned_list import UrlRow
from trackyard.acquire.images.shards import Outcome, Spill, Stored, Work
from trackyard.acquire.images.workers import ImageWorkers
from trackyard.acquire.web.http import FetchFailure, GuardedClient

_SMOOTHING = 1 / 16
_FIRST_GUESS = 200_000.0
"""Bytes of a body before any has arrived."""


@dataclass(slots=True)
class _Open:
    """A part under way. told: outcomes in the order of the list that were passed on; left: rows without one."""

    work: Work
    spill: Spill
    outcomes: list[Outcome | None]
    left: int
    told: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def settled(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowLimits:
    """tasks: URLs under way, those that wait for a busy host included. held_bytes: of bodies that arrive or wait for a
    worker, as far as their sizes can be foreseen. ahead: parts under way."""

    tasks: int
    held_bytes: int
    ahead: int


class Flow:
    """One pass over parts. counts: outcomes so far, of written parts and of all rows before the first one that is open.

    The latter makes them fair: failures come sooner than images, and in the order of the list neither is preferred.
    """

    def __init__(
        self,
        directory: Path,
        client: GuardedClient,
        workers: ImageWorkers,
        limits: FlowLimits,
        *,
        write: Callable[[Work, list[Outcome], Spill], Marker],
        on_change: Callable[[Flow], None],
    ) -> None:
        """write: settles a part, in a thread, one at a time. on_change: after every outcome; may raise to stop."""
        self._directory, self._client, self._workers, self._limits = directory, client, workers, limits
        self._write, self._on_change = write, on_change
        self._open: deque[_Open] = deque()
        self._tasks = asyncio.Semaphore(limits.tasks)
        self._changed = asyncio.Event()
        self._ended = False
        self._arriving = 0
        self._held = 0
        self._mean_bytes = _FIRST_GUESS
        self.counts: Counter[str] = Counter()
        self.done = 0
        """Rows with an outcome, in any order."""
        self.ok = 0
        """Rows of them with an image; duplicates are found later."""
        self.bytes = 0
        """Of stored images."""

    async def run(self, works: Iterable[Work]) -> None:
        """Try every row and write every part. Raises an ExceptionGroup of what stopped it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._workers.start())
            group.create_task(self._write_in_order())
            for work in works:
                await self._until(lambda: len(self._open) < self._limits.ahead)
                part = _Open(work, Spill(self._directory, work.part), [None] * len(work.rows), len(work.rows))
                self._open.append(part)
                for position, row in enumerate(work.rows):
                    await self._tasks.acquire()
                    await self._until(self._has_room)
                    self._arriving += 1
                    group.create_task(self._one(part, position, row))
            self._ended = True
            self._changed.set()

    def _has_room(self) -> bool:
        foreseen = self._held + (self._arriving + 1) * self._mean_bytes
        return foreseen <= self._limits.held_bytes or not (self._held or self._arriving)

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            self._changed.clear()
            await self._changed.wait()

    async def _one(self, part: _Open, position: int, row: UrlRow) -> None:
        try:
            outcome = await self._outcome(part, row)
        finally:
            self._tasks.release()
            self._changed.set()
        part.outcomes[position] = outcome
        part.left -= 1
        self.done += 1
        self.ok += outcome.outcome == OK
        self._tell()

    async def _outcome(self, part: _Open, row: UrlRow) -> Outcome:
        try:
            fetched = await self._client.get(row.url)
        except FetchFailure as failure:
            return Outcome(url=row.url, outcome=failure.cause, detail=failure.detail, attempts=failure.attempts)
        finally:
            self._arriving -= 1
        size = len(fetched.body)
        self._mean_bytes += (size - self._mean_bytes) * _SMOOTHING
        self._held += size
        try:
            expected = bytes.fromhex(row.sha256) if row.sha256 else None
            found = await self._workers.check(fetched.body, row.url, sha256=expected, faces=row.faces)
        finally:
            self._held -= size
        if isinstance(found, Refused):
            return Outcome(
                url=row.url,
                outcome=found.cause,
                detail=found.detail,
                attempts=fetched.attempts,
                sha256=found.sha256,
                delivered=size,
            )
        data = fetched.body if found.data is None else found.data
        self.bytes += len(data)
        image = Stored(part.spill.add(data), len(data), found.blake3, found.width, found.height)
        return Outcome(
            url=row.url,
            outcome=OK,
            detail=found.mismatch,
            attempts=fetched.attempts,
            sha256=found.sha256,
            delivered=size,
            image=image,
        )

    def _tell(self) -> None:
        """Count what is settled without a gap from the beginning of the list."""
        for part in self._open:
            while part.told < len(part.outcomes) and (outcome := part.outcomes[part.told]) is not None:
                part.told += 1
                part.counts[outcome.outcome] += 1
                self.counts[outcome.outcome] += 1
            if part.told < len(part.outcomes):
                break
        self._on_change(self)

    async def _write_in_order(self) -> None:
        while True:
            await self._until(lambda: (bool(self._open) and not self._open[0].left) or (self._ended and not self._open))
            if not self._open:
                return
            part = self._open[0]
            marker = await asyncio.to_thread(self._write, part.work, part.settled(), part.spill)
            part.spill.remove()
            self._open.popleft()
            # Duplicates are known only now.
            self.counts = self.counts - part.counts + Counter(marker.counts)
            self._changed.set()
            self._on_change(self)

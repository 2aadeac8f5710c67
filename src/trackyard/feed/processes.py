"""Worker processes that decode micro-batches, and what becomes of one that dies or hangs.

A worker opens plan and snapshots itself and keeps no state. Stop signals, which clusters send to whole groups, are the
parent's alone; a worker ends with its parent, even a killed one. Source: reliability spec F25.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker, util
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from trackyard.errors import TrackyardError
from trackyard.feed.handover import Parcel
from trackyard.feed.steps import FeedSource, MicroBatch, PlanFeed
from trackyard.snapshot.workers import live_with_parent

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
GRACE_S = 5.0
"""Longest wait for a process that was killed."""


class _Worker(SpawnProcess):
    """A process that is deaf to stop signals from its first instruction on."""

    def start(self) -> None:
        with _deaf():
            super().start()


class _Context(SpawnContext):
    """Spawns workers and remembers them: an executor does not say which of its processes ended."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[_Worker] = []

    def Process(self, *arguments: Any, **named: Any) -> _Worker:  # type: ignore[override]
        worker = _Worker(*arguments, **named)
        worker.name = f"feed worker {len(self.started)}"
        self.started.append(worker)
        return worker


class WorkerPool:
    """Processes that decode micro-batches of one feed."""

    def __init__(self, source: FeedSource, workers: int, timeout_s: float) -> None:
        # Made here, it is removed with this process; the workers' sockets lie in it.
        util.get_temp_dir()
        self._timeout_s = timeout_s
        self._context = _Context()
        self._pool = ProcessPoolExecutor(workers, self._context, _begin, (source,))

    def submit(self, step: int, index: int) -> Future[MicroBatch]:
        """Decode a micro-batch some time; TrackyardError if a worker has died. The first calls start the processes."""
        try:
            return self._pool.submit(_decode, step, index)
        except BrokenProcessPool as error:
            raise self._ended() from error

    def result(self, future: Future[MicroBatch]) -> MicroBatch:
        """Wait for it; TrackyardError if a worker died or if it takes longer than the limit."""
        try:
            return future.result(self._timeout_s)
        except TimeoutError:
            if future.done():
                raise
            raise TrackyardError(
                what=f"no feed worker has decoded the next micro-batch within {self._timeout_s:g} s",
                why="a worker or the file system it reads from hangs; the update of this step was not applied",
                fix="look at the file system (`df`, `ls` in the snapshot), then run the same command again: it "
                "continues from the newest checkpoint",
            ) from None
        except BrokenProcessPool as error:
            raise self._ended() from error

    def close(self) -> None:
        """End the workers at once: they hold nothing that is worth waiting for."""
        for worker in self._context.started:
            worker.kill()
        self._pool.shutdown(wait=True)

    def _ended(self) -> TrackyardError:
        """What a run says of workers that have ended: their names, processes and causes."""
        ended = wait([worker.sentinel for worker in self._context.started], GRACE_S)
        dead = ", ".join(
            f"{worker.name} (process {worker.pid}, {_cause(worker)})"
            for worker in self._context.started
            if worker.sentinel in ended
        )
        return TrackyardError(
            what=f"{dead or 'a feed worker'} ended while micro-batches were being decoded",
            why="it was killed, most often for want of memory; the update of this step was not applied",
            fix="run the same command again, which continues from the newest checkpoint; where memory is short, "
            "with fewer engine.workers in params.yaml",
        )


def _cause(worker: _Worker) -> str:
    # The executor waits for its processes as well. Whoever comes second sees the exit code when the other has noted it.
    deadline = time.monotonic() + GRACE_S
    while (code := worker.exitcode) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are started inside keep stop signals blocked; this one receives them afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        # Where it does not run yet, starting it unblocks two of them; it is started with the third one blocked.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In a worker ---------------------------------------------------------------------------------------------------------

_source: FeedSource
_feed: PlanFeed | None = None


def _begin(source: FeedSource) -> None:
    """What a worker does first."""
    global _source
    live_with_parent()
    _source = source


def _decode(step: int, index: int) -> Any:
    """A micro-batch as a parcel, which arrives as a MicroBatch. The first one opens the feed, so that errors arrive."""
    global _feed
    if _feed is None:
        _feed = _source.open()
    return Parcel(_feed.micro_batch(step, index))

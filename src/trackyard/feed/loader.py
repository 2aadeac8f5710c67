"""Steps decoded ahead, by one thread of this process or by worker processes, in the order of the plan.

The unit is the micro-batch. The loss of a step is divided by the weight that was really decoded, so all its
micro-batches are decoded before the first is used: one step is held, and beyond it a few micro-batches, bounded in
number and in bytes. As the step's own are used they are let go, and those of the next step take their place. (Dividing
at the end instead would save that step of memory, but needs every sharded gradient scaled before it is clipped, and
gives other losses.) Pinning is left to the transfer (`models.attention.sent`): pinned memory is scarce, a step is much.

Workers are started by "spawn": a fork of a process with threads may hang, and one with a CUDA context cannot use it.
They are those of concurrent.futures and not of torch's DataLoader: there a worker's death is raised out of whatever
line the training is at, errors lose their type, and each worker imports torch (1.3 s, 160 MB).
Source: molmo2 spec section 9, reliability spec F13 and F25.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Protocol

from trackyard.feed.batch import Batch
from trackyard.feed.processes import WorkerPool
from trackyard.feed.steps import MicroBatch, PlanFeed, StepFeed

AHEAD = 2
"""Micro-batches beyond the step in use, per worker."""
PREFETCH_BYTES = 2_000_000_000
"""Bytes of them at most, of all workers of this rank; one is always decoded ahead."""
TIMEOUT_S = 300.0
"""Longest wait for a worker's micro-batch. Ordinary ones take seconds; 384 frames of full-size video half a minute."""


class Pool(Protocol):
    """What decodes."""

    def submit(self, step: int, index: int) -> Future[MicroBatch]:
        """Decode a micro-batch some time."""
        ...

    def result(self, future: Future[MicroBatch]) -> MicroBatch:
        """Wait for it."""
        ...

    def close(self) -> None:
        """Stop decoding."""
        ...


class ThreadPool:
    """One thread of this process."""

    def __init__(self, feed: PlanFeed) -> None:
        self._feed = feed
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")

    def submit(self, step: int, index: int) -> Future[MicroBatch]:
        return self._pool.submit(self._feed.micro_batch, step, index)

    def result(self, future: Future[MicroBatch]) -> MicroBatch:
        return future.result()

    def close(self) -> None:
        """Finish the micro-batch at hand and drop the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def ahead(feed: PlanFeed, workers: int, prefetch_bytes: int) -> int:
    """Micro-batches that are decoded beyond the step in use."""
    return max(1, min(AHEAD * max(1, workers), prefetch_bytes // feed.micro_batch_bytes))


@contextmanager
def read_ahead(
    feed: PlanFeed,
    start: int,
    stop: int,
    *,
    workers: int = 0,
    prefetch_bytes: int = PREFETCH_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Iterator[StepFeed]]:
    """Steps start … stop - 1 of a feed, decoded ahead; nothing of it runs on after the block.

    workers: processes that decode; 0 is one thread of this process. The steps are the same for every number of them.
    A step's batches can be taken once, before the next step is. Raises what decoding raises, and TrackyardError for a
    worker that died or gave nothing for `timeout_s`.
    """
    pool: Pool = WorkerPool(feed.source, workers, timeout_s) if workers else ThreadPool(feed)
    try:
        yield _steps(feed, pool, range(start, stop), ahead(feed, workers, prefetch_bytes))
    finally:
        pool.close()


def _steps(feed: PlanFeed, pool: Pool, numbers: range, beyond: int) -> Iterator[StepFeed]:
    count = feed.micro_batches
    units = iter([(number, index) for number in numbers for index in range(count)])
    held: deque[Future[MicroBatch]] = deque()

    def fill() -> None:
        held.extend(pool.submit(*unit) for unit in islice(units, count + beyond - len(held)))

    def hand_over() -> Iterator[Batch]:
        for _ in range(count):
            batch = pool.result(held.popleft()).batch
            fill()
            yield batch

    for number in numbers:
        fill()
        facts = [pool.result(future).facts for future in islice(held, count)]
        batches = hand_over()
        yield StepFeed.of(number, facts, batches)
        for _ in batches:
            pass

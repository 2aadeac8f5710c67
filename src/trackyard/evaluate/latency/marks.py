"""Spans of time between moments at which the device has nothing left to do. Source: nine-datasets spec section 7."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from trackyard.errors import ConfigError

Clock = Callable[[], float]
"""Seconds since some moment, never backwards."""


class Marks:
    """Named spans, each taken once. The device is synchronised at both ends of each."""

    def __init__(self, synchronise: Callable[[], None], clock: Clock = time.perf_counter) -> None:
        self._synchronise = synchronise
        self._clock = clock
        self._spans_ms: dict[str, float] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time what happens inside. ValueError for a name that was taken: a later pass would overwrite the first."""
        if name in self._spans_ms:
            raise ValueError(f"the span {name!r} was taken already: {self._spans_ms[name]} ms")
        start = self._now()
        yield
        self._spans_ms[name] = 1e3 * (self._now() - start)

    def ms(self, name: str) -> float:
        """Milliseconds of a span; 0 for one that was not taken."""
        return self._spans_ms.get(name, 0.0)

    def _now(self) -> float:
        self._synchronise()
        return self._clock()


def synchroniser(device: torch.device) -> Callable[[], None]:
    """What waits until `device` has done all its work. ConfigError for a kind of device that we cannot wait for."""
    if device.type == "cuda":
        return partial(torch.cuda.synchronize, device)
    if device.type == "cpu":
        return _nothing_pending
    raise ConfigError(
        what=f"latency on a {device.type!r} device",
        why="work that is not waited for is timed as if it were done",
        fix="run the latency stage on a CUDA device, or on the CPU",
    )


def _nothing_pending() -> None:
    """A CPU returns from a call when its work is done."""

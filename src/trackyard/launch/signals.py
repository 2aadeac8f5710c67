"""SIGTERM and SIGUSR1 ask a run to save and stop; the trainer looks at the flag at every step boundary."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopFlag:
    """True once a stop signal has arrived. Repeated signals change nothing: clusters often send several."""

    def __init__(self) -> None:
        self.name: str | None = None

    def __call__(self) -> bool:
        return self.name is not None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.name is None:
            self.name = signal.Signals(number).name


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Listen for stop signals inside the block (main thread only); the earlier handlers come back afterwards."""
    flag = StopFlag()
    earlier = {number: signal.signal(number, flag._receive) for number in STOP_SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)

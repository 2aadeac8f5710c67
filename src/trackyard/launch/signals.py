"""SIGTERM and SIGUSR1 ask a run to save and stop: at the next step in training, at once everywhere else.

Clusters often send several signals. The first one counts; from then on the process is ending, and further ones are
ignored, so that none of them turns the exit code 75 into a kill.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from trackyard.errors import TrackyardError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopFlag:
    """True once a stop signal has arrived; `name` is that of the first."""

    def __init__(self) -> None:
        self.name: str | None = None

    def __call__(self) -> bool:
        return self.name is not None

    def receive(self, number: int) -> None:
        """Take note of a signal."""
        if self.name is None:
            self.name = signal.Signals(number).name


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Note stop signals inside the block (main thread only). Without one, the earlier handlers come back afterwards."""
    flag = StopFlag()
    with _handling(lambda number, _frame: flag.receive(number)):
        try:
            yield flag
        finally:
            if flag():
                _ignore()


@contextmanager
def stop_error(make: Callable[[str], TrackyardError]) -> Iterator[None]:
    """Raise `make(name of the signal)` when a stop signal arrives inside the block (main thread only).

    For work that can be cut anywhere because what it writes is complete or absent. A `stop_flag` inside it is not cut.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        for other in STOP_SIGNALS:
            signal.signal(other, _deaf)
        raise make(signal.Signals(number).name)

    with _handling(stop):
        yield


@contextmanager
def stop_interrupt() -> Iterator[StopFlag]:
    """Treat a stop signal inside the block like Ctrl-C (main thread only); the flag names it.

    For work under event loops and pools: they end their tasks in order for a KeyboardInterrupt, and for nothing else.
    """
    flag = StopFlag()

    def stop(number: int, frame: FrameType | None) -> None:
        if flag():
            return
        flag.receive(number)
        # An event loop has its own handler there; a job in the background of a script ignores interrupts.
        interrupt = signal.getsignal(signal.SIGINT)
        (interrupt if callable(interrupt) else signal.default_int_handler)(signal.SIGINT, frame)

    with _handling(stop):
        try:
            yield flag
        finally:
            if flag():
                _ignore()


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    earlier = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        if any(signal.getsignal(number) is _deaf for number in STOP_SIGNALS):
            _ignore()
        for number, previous in earlier.items():
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, previous)


def _deaf(_number: int, _frame: FrameType | None) -> None:
    """Handler of a signal that comes after the first. Python complains of one that is pending when SIG_IGN is set."""


def _ignore() -> None:
    """Ignore stop signals for good, also while the interpreter shuts down, when Python's own handlers are gone."""
    for number in STOP_SIGNALS:
        signal.signal(number, _deaf)
    # Changing the mask runs the handlers of whatever has arrived; from then on the kernel keeps signals back.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

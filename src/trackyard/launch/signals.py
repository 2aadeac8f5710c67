"""SIGTERM and SIGUSR1 ask a run to save and stop: at the next step in training, at once everywhere else.

Clusters often send several signals. The first one counts; from then on the process is ending, and further ones are
ignored, so that none of them turns the exit code 75 into a kill. A wall-clock budget ends in the same way: the process
sends SIGUSR1 to itself, so there is one way to stop and not two.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
JOB_END = "SLURM_JOB_END_TIME"
"""Set by Slurm: when the job is ended, in seconds since 1970."""
LEAD_S = 180.0
"""Time before the end of a job at which it stops: for a checkpoint, and the minute by which Slurm is inexact. A step
that by the pace of those before it would not end in time is not begun, and takes none of it."""
TIME_IS_UP = "the end of its time"

_time_is_up = threading.Event()


class StopFlag:
    """True once a stop signal has arrived; `name` is that of the first, `received` are those of all."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.received: set[str] = set()

    def __call__(self) -> bool:
        return self.name is not None

    def receive(self, number: int) -> None:
        """Take note of a signal."""
        self.received.add(signal.Signals(number).name)
        if self.name is None:
            self.name = cause(signal.Signals(number).name)


def cause(name: str) -> str:
    """What a stop signal stands for: its name, or TIME_IS_UP where this process sent it to itself at its deadline."""
    return TIME_IS_UP if name == signal.SIGUSR1.name and _time_is_up.is_set() else name


def number_of(cause: str) -> int:
    """The signal that came for a `cause`."""
    return signal.SIGUSR1 if cause == TIME_IS_UP else signal.Signals[cause]


def deadline(max_hours: float | None, environment: Mapping[str, str], *, wall: float, monotonic: float) -> float | None:
    """When a run that starts now stops by itself, on the clock `time.monotonic`; None for never.

    max_hours: its budget. wall, monotonic: both clocks now. The end of a Slurm job counts too: the run stops LEAD_S
    before it, in short jobs when a quarter is left. ConfigError where the job has ended already.
    """
    ends = [] if max_hours is None else [monotonic + 3600 * max_hours]
    if text := environment.get(JOB_END):
        if not text.isdecimal():
            raise EnvironmentLacking(
                what=f"{JOB_END}={text!r} is no time",
                why="the run would not know when its job ends, and would lose what it had not saved",
                fix=f"unset {JOB_END} and set engine.max_hours instead",
            )
        left = int(text) - wall
        if left <= 0:
            raise ConfigError(
                what=f"{JOB_END} was {-left:.0f} s ago",
                why="the run would stop before its first step",
                fix=f"start it in a job that is still running, or unset {JOB_END}",
            )
        ends.append(monotonic + left - min(LEAD_S, left / 4))
    return min(ends, default=None)


@contextmanager
def stopping_at(moment: float | None) -> Iterator[None]:
    """Send SIGUSR1 to this process once `time.monotonic` has passed `moment`, unless the block ends before."""
    if moment is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        if not ended.wait(max(0.0, moment - time.monotonic())):
            _time_is_up.set()
            os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=watch, name="deadline", daemon=True)
    try:
        thread.start()
        yield
    finally:
        ended.set()
        thread.join()
        _time_is_up.clear()


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
        raise _Cut(cause(signal.Signals(number).name))

    try:
        with _handling(stop):
            yield
    except _Cut as cut:
        raise make(cut.name) from None


class _Cut(BaseException):
    """A stop signal on its way out of the work that it cut.

    Libraries catch every `Exception` here and there and say that something else went wrong, as that a model is absent.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


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

"""A rank that stands still is ended, and says where it stood (reliability F26).

One rank that is dead, hung or lost makes all others wait in a collective, silently, for as long as the process group
allows. Every rank watches itself: a step that takes too long ends the process with 1, the stacks of all its threads
in `stacks/attempt-0001-rank-0.txt` of the run directory. Its peers then fail as well: they lose their connection, their
own watch runs out, or their launcher asks them for their stacks (SIGUSR2) and ends them.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import statistics
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from pydantic import Field

from trackyard.errors import EXIT_FAILED, StoppedEarly, TrackyardError
from trackyard.parameters import Parameters

ASK = signal.SIGUSR2
"""The signal upon which a rank writes its stacks and goes on."""
HEARD = frozenset((ASK, signal.SIGTERM))
"""Upon SIGTERM too: other launchers send it to the survivors of a failed rank half a minute before they kill them."""
STEPS = 64
"""Steps whose durations the median is taken over."""
SLACK_S = 10.0
"""After the thread that watches comes a timer without the interpreter, for where a hung call keeps the GIL."""
REARM_S = 1.0
"""That timer is set again at most this often: setting it starts a thread, which would be felt by steps of 1 ms."""


class WatchdogParameters(Parameters):
    """How long a step may take before its rank is taken for hung."""

    first_s: float = Field(default=600.0, gt=0.0)
    """Seconds for building the model and the first step (weights of 60 GB at 100 MB/s), and for what follows the last.
    Not less than the process group's own limit, or slow starts would end that it allows."""
    factor: float = Field(default=10.0, ge=1.0)
    """Later steps: this many times the median of the last ones …"""
    at_least_s: float = Field(default=540.0, gt=0.0)
    """… and never fewer seconds. Above the 300 s after which the feed gives up a worker, which names the worker, and
    the 480 s that a checkpoint may take; ending a healthy run costs more than a hang found after nine minutes."""


class Watchdog:
    """Watches one rank during a `with` block; `beat` after every step.

    For the main thread, since it listens to signals. The stacks file is there afterwards only if something went wrong.
    """

    def __init__(self, stacks: Path, *, rank: int, limits: WatchdogParameters) -> None:
        self.path = stacks
        self._rank, self._limits = rank, limits
        self._durations: deque[float] = deque(maxlen=STEPS)
        self._beats = 0
        self._last = self._due = self._armed_until = 0.0
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "w", buffering=1, encoding="utf-8")
        # Crashes inside C code, SIGABRT of a failed assertion among them.
        faulthandler.enable(self._file, all_threads=True)
        self._listen()
        self._last = time.monotonic()
        self._expect(self._last, self._limits.first_s)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._hush()
        self._thread.join()
        self._ear.close()
        faulthandler.cancel_dump_traceback_later()
        faulthandler.disable()
        with self._file:
            if error is not None:
                self._file.writelines(traceback.format_exception(error))
                faulthandler.dump_traceback(self._file, all_threads=True)
        if error is None or isinstance(error, StoppedEarly):
            self.path.unlink()

    def beat(self, *, last: bool = False) -> None:
        """A step is done. last: of all; what follows it may take as long as the start."""
        now = time.monotonic()
        if self._beats:  # the first one holds the start
            self._durations.append(now - self._last)
        self._beats, self._last = self._beats + 1, now
        self._expect(now, self._limits.first_s if last else self.limit_s())

    def pace_s(self) -> float:
        """The longest of the last steps; 0 before the second one."""
        return max(self._durations, default=0.0)

    def limit_s(self) -> float:
        """How long the next step may take."""
        if not self._durations:
            return self._limits.first_s
        return max(self._limits.at_least_s, self._limits.factor * statistics.median(self._durations))

    def _expect(self, now: float, limit_s: float) -> None:
        self._due = now + limit_s
        if self._due + SLACK_S > self._armed_until:
            self._armed_until = self._due + SLACK_S + REARM_S
            faulthandler.dump_traceback_later(limit_s + SLACK_S + REARM_S, exit=True, file=self._file)

    def _listen(self) -> None:
        """Have signals that Python handles written to where the thread that watches reads, hung main thread or not.

        That thread writes the stacks of all, and not the handler of a signal, as `faulthandler.register` would: walking
        the frames of threads that run meanwhile, it now and then crashes a rank that was to save and stop.
        """
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        self._earlier_fd = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        signal.signal(ASK, _noted)
        # What a question interrupts inside C code goes on as if there had been none.
        signal.siginterrupt(ASK, False)

    def _hush(self) -> None:
        """The end of listening, which the thread that reads hears at once."""
        signal.signal(ASK, signal.SIG_DFL)
        signal.set_wakeup_fd(self._earlier_fd)
        self._mouth.close()

    def _watch(self) -> None:
        while not self._over.is_set():
            # A shorter limit than the one it waits for may be set at any time: it looks once a second.
            self._ear.settimeout(min(1.0, max(0.001, self._due - time.monotonic())))
            try:
                heard = self._ear.recv(4096)
            except TimeoutError:
                heard = b""
            if not HEARD.isdisjoint(heard):
                faulthandler.dump_traceback(self._file, all_threads=True)
            if time.monotonic() >= self._due and not self._over.is_set():
                self._end()

    def _end(self) -> None:
        """Leave the stacks and end the process: the thread that hangs cannot be interrupted."""
        error = TrackyardError(
            what=f"rank {self._rank} has not finished step {self._beats + 1} of this attempt "
            f"{time.monotonic() - self._last:.0f} s after the one before",
            why="a rank, a feed worker or a file system hangs; waiting on would use up the allocation",
            fix=f"see where each rank stood in {self.path.parent}, then run the same command again: it continues from "
            "the newest checkpoint; if steps really take so long, raise watchdog.at_least_s (first_s) in params.yaml",
        )
        self._file.write(f"{error}\n")
        faulthandler.dump_traceback(self._file, all_threads=True)
        sys.stderr.write(f"rank {self._rank}: the watchdog ends it\n{error}\n")
        sys.stderr.flush()
        os._exit(EXIT_FAILED)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Handler of ASK: that it came is written to the ear of the watchdog before this is called."""


def stacks_file(run_directory: Path, attempt: int, rank: int) -> Path:
    """Where a rank of an attempt leaves its stacks: stacks/attempt-0001-rank-0.txt."""
    return run_directory / "stacks" / f"attempt-{attempt:04d}-rank-{rank}.txt"

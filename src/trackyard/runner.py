"""The one way to run external programs (git, dvc, apptainer): recorded, bounded in time, replaceable in tests."""

from __future__ import annotations

import signal
import subprocess  # noqa: TID251 - the only module that may
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from trackyard.errors import EnvironmentLacking, TrackyardError


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A program that ended. seconds: wall time."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float


class Runner(Protocol):
    """What every caller of external programs takes."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        """Run to the end and return the result whatever its exit code is."""
        ...


class SystemRunner:
    """Runs programs of this machine. EnvironmentLacking if the program is absent, TrackyardError on a timeout."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        if cwd is not None and not cwd.is_dir():
            raise TrackyardError(
                what=f"the folder {cwd} does not exist",
                why=f"`{' '.join(argv)}` runs in it",
                fix="run the command from the repository root of a complete checkout",
            )
        started = time.monotonic()
        try:
            done = subprocess.run(list(argv), cwd=cwd, env=env, timeout=timeout_s, capture_output=True, check=False)
        except (FileNotFoundError, PermissionError) as error:
            raise EnvironmentLacking(
                what=f"the program {argv[0]!r} is not installed or not executable",
                why=f"`{' '.join(argv)}` needs it",
                fix=f"install {argv[0]} or put it on PATH",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise TrackyardError(
                what=f"`{' '.join(argv)}` did not end within {timeout_s:.0f} s",
                why="its result is unknown, so nothing may rely on it",
                fix="run it by hand to see what it waits for",
            ) from error
        return Finished(
            argv=tuple(argv),
            exit_code=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
            seconds=time.monotonic() - started,
        )


def attached(argv: Sequence[str]) -> int:
    """Run a program in the foreground: it shares the terminal, and SIGTERM and SIGUSR1 are passed on to it."""
    child = subprocess.Popen(list(argv))

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    earlier = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        return child.wait()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)

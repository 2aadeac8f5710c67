"""The one way to run external programs (git, dvc, apptainer): recorded, bounded in time, replaceable in tests."""

from __future__ import annotations

import os
import signal
import subprocess  # noqa: TID251 - the only module that may
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.redact import require_public

_IN_ENVIRONMENT = "give it to the program in its environment"
_ATTEND_S = 0.2
"""How late a program that is attended hears that it is asked to stop."""


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
        require_public(argv, fix=_IN_ENVIRONMENT)
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
            raise _not_installed(argv[0], f"`{' '.join(argv)}` needs it") from error
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """Programs that ran side by side and ended. codes: exit codes in order; stopped_by: the first signal passed on."""

    codes: tuple[int, ...]
    stopped_by: str | None


def together(
    commands: Sequence[tuple[Sequence[str], Mapping[str, str]]],
    *,
    grace_s: float = 10.0,
    ask: signal.Signals | None = None,
    answer_s: float = 2.0,
) -> Together:
    """Run programs (argv, environment) side by side in the foreground, to the end of all of them.

    They share the terminal, and SIGTERM and SIGUSR1 are passed on to each. Once one has failed, those that still wait
    for it after `grace_s` are sent `ask` (write down where you stand) and killed `answer_s` later. The standard input
    of each is a pipe that ends when this process does, however it ends: a program that watches it does not outlive its
    parent.
    """
    for argv, _ in commands:
        require_public(argv, fix=_IN_ENVIRONMENT)
    received: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for child in children:
            child.send_signal(number)

    earlier = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        for argv, environment in commands:
            children.append(subprocess.Popen(list(argv), env=dict(environment), stdin=subprocess.PIPE))
            # One that was being started when a signal came was not among those that it was passed on to.
            for number in received:
                children[-1].send_signal(number)
        failed_at: float | None = None
        while any(child.poll() is None for child in children):
            now = time.monotonic()
            if failed_at is None and any(child.returncode for child in children):
                failed_at = now
            if failed_at is not None and now - failed_at > grace_s:
                break
            time.sleep(0.05)
        _ask(children, ask, answer_s)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdin is not None:
                child.stdin.close()
        for number, handler in earlier.items():
            signal.signal(number, handler)
    return Together(
        codes=tuple(child.returncode for child in children),
        stopped_by=signal.Signals(received[0]).name if received else None,
    )


def attended(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: Path,
    asked: Callable[[], bool],
    ask: signal.Signals,
) -> int:
    """Run a program in the foreground, in a process group of its own, to its end.

    Once `asked()` is true it is sent `ask`, one time; whoever signals this process's group does not reach it. Returns
    its exit code, negative for the signal that ended it. EnvironmentLacking if it cannot be started.
    """
    require_public(argv, fix=_IN_ENVIRONMENT)
    try:
        child = subprocess.Popen(list(argv), env=dict(environment), cwd=cwd, stdin=subprocess.DEVNULL, process_group=0)
    except (FileNotFoundError, PermissionError) as error:
        raise _not_installed(argv[0], f"`{' '.join(argv)}` needs it") from error
    told = False
    try:
        while True:
            if not told and asked():
                child.send_signal(ask)
                told = True
            try:
                return child.wait(timeout=_ATTEND_S)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _ask(children: Sequence[subprocess.Popen[bytes]], ask: signal.Signals | None, answer_s: float) -> None:
    """Give programs that are about to be killed time to answer a signal."""
    left = [child for child in children if child.poll() is None]
    if ask is None or not left:
        return
    for child in left:
        child.send_signal(ask)
    limit = time.monotonic() + answer_s
    while time.monotonic() < limit and any(child.poll() is None for child in left):
        time.sleep(0.05)


@contextmanager
def beside(
    argv: Sequence[str], environment: Mapping[str, str], *, nice: int = 0, grace_s: float = 5.0
) -> Iterator[None]:
    """Run a program beside the block, and end it, by its own id, when the block ends: SIGTERM, then SIGKILL.

    nice: by how much it is nicer than this process. Its standard input is a pipe that ends when this process does,
    however it ends. EnvironmentLacking if it cannot be started.
    """
    child = _started(argv, environment, nice, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdin is not None:
            child.stdin.close()


def companion(argv: Sequence[str], environment: Mapping[str, str], *, nice: int = 0) -> None:
    """Start a program that watches its standard input, which ends with this process or with what that becomes by exec.

    EnvironmentLacking if it cannot be started.
    """
    reading, writing = os.pipe()
    try:
        _started(argv, environment, nice, stdin=reading)
    finally:
        os.close(reading)
    os.set_inheritable(writing, True)


def _started(argv: Sequence[str], environment: Mapping[str, str], nice: int, stdin: int) -> subprocess.Popen[bytes]:
    require_public(argv, fix=_IN_ENVIRONMENT)
    command = ["nice", "-n", str(nice), *argv] if nice else list(argv)
    try:
        return subprocess.Popen(command, env=dict(environment), stdin=stdin)
    except (FileNotFoundError, PermissionError) as error:
        raise _not_installed(command[0], f"`{' '.join(command)}` runs beside this command") from error


def _not_installed(program: str, why: str) -> EnvironmentLacking:
    return EnvironmentLacking(
        what=f"the program {program!r} is not installed or not executable",
        why=why,
        fix=f"install {program} or put it on PATH",
    )

"""One process at a time: an advisory lock that names its owner and does not outlive it.

By flock the kernel drops the lock when its owner ends, however it ends, so nothing stale is ever left to clean up.
Where the file system has no working flock, `TRACKYARD_LOCKS=link` takes a hard link beside it, on a lease (`leased`).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.leased import Held, holder, leased
from trackyard.redact import Redactor

Locks = Literal["flock", "link"]
LOCKS_VARIABLE = "TRACKYARD_LOCKS"
"""How locks are taken: flock (unset), or link. `locks` of a site sets it."""

OWNER_WRITES_WITHIN_S = 0.5
"""How long a refused process waits for the name of the one that was faster."""
WAIT_EVERY_S = 0.2
_BUSY = (errno.EWOULDBLOCK, errno.EACCES)


class InUse(TrackyardError):
    """Another process, or another thread of this one, holds the lock."""


def locks_in_force(environment: Mapping[str, str] | None = None, unsaid: Locks = "flock") -> Locks:
    """What LOCKS_VARIABLE says, `unsaid` where it says nothing; ConfigError for anything but its two values."""
    named = (os.environ if environment is None else environment).get(LOCKS_VARIABLE) or unsaid
    if named == "flock":
        return "flock"
    if named == "link":
        return "link"
    raise ConfigError(
        what=f"{LOCKS_VARIABLE}={named!r}",
        why="locks are taken by flock, or by hard link where the file system has no working flock",
        fix=f"export {LOCKS_VARIABLE}=link, or unset it; `trackyard doctor` says which one works here",
    )


@contextmanager
def exclusive(path: Path, *, what: str, why: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` during the block.

    what: what is locked, for the message; why: what two owners would destroy. wait_s: how long another owner is waited
    for; math.inf for as long as it takes.
    Raises InUse naming the owner if another process holds it then, EnvironmentLacking where the file cannot be made or
    its file system has no locks. The file stays, empty: removing it would let two processes hold locks on two files of
    one name.
    """
    until = time.monotonic() + wait_s
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(_held(path, what, why))
                break
            except InUse:
                if time.monotonic() >= until:
                    raise
            time.sleep(WAIT_EVERY_S)
        yield


@contextmanager
def _held(path: Path, what: str, why: str) -> Iterator[None]:
    mode = locks_in_force()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise EnvironmentLacking(
            what=f"the lock file {path} cannot be opened: {error.strerror}",
            why=f"without it two processes could work on {what} at once, and {why}",
            fix=f"make {path.parent} writable, or choose another place",
        ) from error
    with ExitStack() as taken:
        taken.callback(os.close, handle)
        _take(handle, path, what, why, mode)
        _link(taken, handle, path, what, why, mode)
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": Redactor().text(" ".join(sys.argv)),
        }
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)


def _take(handle: int, path: Path, what: str, why: str, mode: Locks) -> None:
    """Take the flock. With links it is taken too where it works, so that a process that knows of no links is seen."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            raise _in_use(what, why, _owner(handle)) from error
        if mode == "link":
            return
        raise EnvironmentLacking(
            what=f"{path} cannot be locked: {error.strerror}",
            why=f"this file system has no working flock, so two processes could work on {what} at once",
            fix=f"export {LOCKS_VARIABLE}=link (`locks: link` in the site's file), or choose a file system with flock "
            f"for {path.parent} (Lustre: mounted with -o flock); `trackyard doctor` tries both",
        ) from error


def _link(taken: ExitStack, handle: int, path: Path, what: str, why: str, mode: Locks) -> None:
    """Take the hard link; by flock alone, refuse where somebody holds it: flock may end at the node's own mount."""
    if mode == "flock":
        there = holder(path)
        if there is not None:
            raise _in_use(what, why, f"{there}, which locks by link: export {LOCKS_VARIABLE}=link here too")
        return
    try:
        taken.enter_context(leased(path))
    except Held as error:
        named = _owner(handle)
        raise _in_use(what, why, named if str(error) in named else str(error)) from error
    except OSError as error:
        raise EnvironmentLacking(
            what=f"{path} cannot be locked by a hard link: {error.strerror}",
            why=f"{LOCKS_VARIABLE}=link says that this file system locks so, and two could work on {what} at once",
            fix=f"unset {LOCKS_VARIABLE} where flock works (`trackyard doctor` tries both), or choose another place",
        ) from error


def _in_use(what: str, why: str, owner: str) -> InUse:
    return InUse(
        what=f"{what} is in use by {owner}",
        why=why,
        fix="wait until that process ends, or stop it there",
    )


def _owner(handle: int) -> str:
    """Who wrote the lock file; the instant between taking and writing it, when it is empty, is waited for."""
    deadline = time.monotonic() + OWNER_WRITES_WITHIN_S
    while True:
        try:
            owner = json.loads(os.pread(handle, 1 << 16, 0))
        except ValueError:
            if time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            return "a process that has just started, or has just ended"
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}: {owner['command']}"

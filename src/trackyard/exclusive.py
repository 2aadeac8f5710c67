"""One process at a time: an advisory lock that names its owner and dies with it.

The kernel drops the lock when its owner ends, however it ends, so nothing stale is ever left to clean up.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.redact import Redactor

OWNER_WRITES_WITHIN_S = 0.5
"""How long a refused process waits for the name of the one that was faster."""


@contextmanager
def exclusive(path: Path, *, what: str, why: str) -> Iterator[None]:
    """Hold the lock file `path` during the block.

    what: what is locked, for the message; why: what two owners would destroy.
    Raises TrackyardError naming the owner at once if another process holds it, EnvironmentLacking where the file
    cannot be made or its file system has no locks. The file stays, empty: removing it would let two processes hold
    locks on two files of one name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise EnvironmentLacking(
            what=f"the lock file {path} cannot be opened: {error.strerror}",
            why=f"without it two processes could work on {what} at once, and {why}",
            fix=f"make {path.parent} writable, or choose another place",
        ) from error
    try:
        _take(handle, path, what, why)
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
    finally:
        os.close(handle)


def _take(handle: int, path: Path, what: str, why: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise TrackyardError(
                what=f"{what} is in use by {_owner(handle)}",
                why=why,
                fix="wait until that process ends, or stop it there",
            ) from error
        raise EnvironmentLacking(
            what=f"{path} cannot be locked: {error.strerror}",
            why=f"this file system has no working locks, so two processes could work on {what} at once",
            fix=f"choose a file system with locks for {path.parent} (Lustre: mounted with -o flock)",
        ) from error


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

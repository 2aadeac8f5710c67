"""A lock that is a hard link, held on a lease: for file systems whose flock does nothing or fails.

`flufl.lock` makes the link, which is exclusive on NFS, Lustre and GPFS too. A second lock, the door, is held while one
looks whether the last owner is gone: otherwise two could both find it gone, and the slower remove the faster's link.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import flufl.lock
import psutil

from trackyard.errors import TrackyardError

LEASE_S = 120
"""How long an owner that is not heard of keeps the lock, beside the 10 s that clocks of two hosts may differ by."""
REFRESH_S = 20
"""Time after which an owner renews its lease."""
CLOCKS_S = 10
DOOR_S = 15
"""Lease of the door, which is held for milliseconds."""


class Held(Exception):
    """Another process has the lock; the message says which one, as far as its link tells."""


class _Link(flufl.lock.Lock):
    """The name of the host as the kernel has it: a resolver may call every node of a cluster localhost."""

    @property
    def hostname(self) -> str:
        return socket.gethostname()


def link_of(path: Path) -> Path:
    """The hard link that stands for the lock `path`."""
    return path.with_name(f"{path.name}.link")


@contextmanager
def leased(path: Path) -> Iterator[None]:
    """Hold the link of `path` during the block. Raises Held at once if another process does, OSError without links.

    An owner that died on this host is taken over at once; one on another host, of which nobody here can tell whether
    it lives, once its lease has run out. TrackyardError at the end of the block if the lock was lost: this process
    stood still for longer than its lease, and another one took it over. The main thread is interrupted when that is
    noticed.
    """
    lock = _Link(str(link_of(path)), lifetime=LEASE_S)
    try:
        with _Link(f"{path}.door", lifetime=DOOR_S, default_timeout=2 * DOOR_S + CLOCKS_S):
            owner = holder(path)
            if owner is not None:
                raise Held(owner)
            _remove(link_of(path))
            lock.lock(timeout=0)
            _renew(lock)
    except flufl.lock.TimeOutError as error:
        raise Held(f"a process that keeps {path.name}.door in {path.parent}") from error
    except flufl.lock.NotLockedError as error:
        # The file system stood still for longer than the door's lease, and another process went through.
        lock.unlock(unconditionally=True)
        raise Held("a process that was faster through the door") from error
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lock, ended), name=f"lease of {path.name}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        _release(lock, path)


def holder(path: Path) -> str | None:
    """Who holds the link of `path`: "process 7 on node3"; None where nobody does, or whoever did is gone."""
    link = link_of(path)
    try:
        expires = link.stat().st_mtime
        claim = link.read_text().strip()
    except FileNotFoundError:
        return None
    if expires + CLOCKS_S < time.time():
        return None
    try:
        _, host, pid, _ = claim.rsplit(flufl.lock.SEP, 3)
        dead = host == socket.gethostname() and not psutil.pid_exists(int(pid))
    except ValueError:
        # Not written by us, or not whole yet; its lease alone says whether it counts.
        return "an unknown process"
    return None if dead else f"process {pid} on {host}"


def _remove(link: Path) -> None:
    """Take away a link whose owner is gone, and the file that it was made from."""
    try:
        claim = Path(link.read_text().strip())
    except FileNotFoundError:
        return
    link.unlink(missing_ok=True)
    if claim.parent == link.parent and claim.name.startswith(f"{link.name}{flufl.lock.SEP}"):
        claim.unlink(missing_ok=True)


def _renew(lock: flufl.lock.Lock) -> None:
    """The library reckons in local time, in which an hour of autumn comes twice; so the date is set once more."""
    lock.refresh()
    expires = time.time() + LEASE_S
    os.utime(lock.claimfile, (expires, expires))


def _keep(lock: flufl.lock.Lock, ended: threading.Event) -> None:
    while not ended.wait(REFRESH_S):
        try:
            _renew(lock)
        except flufl.lock.NotLockedError:
            main = threading.main_thread().ident
            if main is not None:
                # As Ctrl-C does: also out of a wait.
                signal.pthread_kill(main, signal.SIGINT)
            return
        except OSError:
            # The file system does not answer; the lease goes on, and the next round finds whether it still holds.
            continue


def _release(lock: flufl.lock.Lock, path: Path) -> None:
    try:
        lock.unlock()
    except flufl.lock.NotLockedError as error:
        raise TrackyardError(
            what=f"process {os.getpid()} lost the lock {path} while it worked",
            why=f"it stood still for more than {LEASE_S} s, another process took the lock over, and both may have "
            "written the same files",
            fix="stop the other process, prove what was written (`trackyard lineage verify FOLDER`), "
            "and run the command again",
        ) from error

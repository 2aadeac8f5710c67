"""Other processes, as tests see them end.

What /proc says of one can go between two reads, so psutil asks: it tells "gone" from every other fault.
"""

from __future__ import annotations

import time
from collections.abc import Collection

import psutil


def is_alive(pid: int) -> bool:
    """A zombie is not: it has ended, and its parent has not asked for its exit code yet."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[int]:
    """Its children and theirs, of a process that lives."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; none of one that has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def all_end(pids: Collection[int], *, within_s: float) -> bool:
    """Whether none of them is alive any more, at the latest after so many seconds."""
    limit = time.monotonic() + within_s
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True

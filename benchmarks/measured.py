"""What one contender says about itself: work done, seconds it took, and an answer to compare. Standard library only,
because peers run it in an environment without trackyard."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in spent)


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    with open("/proc/self/statm") as handle:
        return int(handle.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def report(work: Callable[[], tuple[float, Any]], **extra: Any) -> None:
    """Run `work` once and print a line of JSON about it, the last line of the process.

    work: does everything that counts and returns (units done, answer). The answer is any JSON value by which the
    harness tells that all contenders did the same. extra: figures that are recorded as they are.
    """
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    units, answer = work()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    line = {"units": units, "cpu_s": cpu, "wall_s": wall, "answer": answer, "extra": extra}
    sys.stdout.flush()
    print(json.dumps(line), flush=True)

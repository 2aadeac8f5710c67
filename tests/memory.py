"""How far the peak of this process's memory rises during a call.

`ru_maxrss` is of no use for it: it never falls, and a child begins with its parent's. The kernel resets VmHWM when 5 is
written to clear_refs (proc(5)).
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, f"/proc/self/status has no {name}"
    return int(found[1])


@contextmanager
def peak_growth() -> Iterator[Callable[[], int]]:
    """Gives a function that tells by how many bytes the peak has risen above what was held at the beginning."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("VmRSS")
    yield lambda: (_kilobytes("VmHWM") - before) * 1024


def in_a_new_process(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """What `function` of a test module gives where no earlier test has left memory free, which growth uses unseen."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **named).result()

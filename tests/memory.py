"""How far the peak of this process's memory rises during a call.

`ru_maxrss` is of no use for it: it never falls, and a child begins with its parent's. The kernel resets VmHWM when 5 is
written to clear_refs (proc(5)).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


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

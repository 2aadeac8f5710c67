"""What a contender does that stays for its turns: an answer first, then a turn for every line of its input. Standard
library and `measured` only, because peers run it in an environment without trackyard. The parent is `turns`."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.measured import cpu_seconds


class Clock:
    """Runs from when it is made."""

    def __init__(self) -> None:
        gc.collect()
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()

    def report(self, units: float) -> dict[str, float]:
        """Units of work with the seconds that they took."""
        return {"units": units, "wall_s": time.perf_counter() - self._wall, "cpu_s": cpu_seconds() - self._cpu}


def say(line: Mapping[str, Any]) -> None:
    """A line for the parent."""
    sys.stdout.flush()
    print(json.dumps(line), flush=True)


def serve(turn: Callable[[], float], answer: Any) -> None:
    """Give the answer; then, for every line of the input, do a turn, which returns its units of work."""
    say({"answer": answer})
    for _ in sys.stdin:
        clock = Clock()
        say(clock.report(turn()))

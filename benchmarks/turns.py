"""Turns of contenders that take long to start: each stays, waits for its turn, and works for a part of a second.

A contender is a process that uses `staying`: it says what it answers in one line of JSON, then does one turn for each
line it is sent and says what that took. It ends with its input. Source: performance spec section 10.1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

from benchmarks.harness import ROOT, Agree, Contender, Metric, Report, Unequal, equal_answers, figures_of, with_missing


class Companion:
    """A contender that is started and stays until it is closed."""

    def __init__(self, contender: Contender) -> None:
        self._name = contender.name
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}"} | contender.environment
        self._process = subprocess.Popen(
            [str(contender.interpreter), *contender.argv],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def hear(self) -> dict[str, Any]:
        """Its next line of JSON; other lines are what libraries print. SystemExit if it ends instead."""
        assert self._process.stdout is not None, "it was opened with a pipe"
        for line in self._process.stdout:
            if line.startswith('{"'):
                found: dict[str, Any] = json.loads(line)
                return found
        sys.exit(f"{self._name} ended with exit code {self._process.wait()} instead of an answer")

    def turn(self) -> dict[str, Any]:
        """Let it do one turn."""
        assert self._process.stdin is not None, "it was opened with a pipe"
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.hear()


def alternate(
    contenders: Sequence[Contender], *, metric: Metric, rounds: int, agree: Agree = equal_answers, warm: int = 1
) -> dict[str, Any]:
    """As `harness.compare`, with contenders that stay; the first `warm` rounds do not count."""
    present = [contender for contender in contenders if contender.interpreter is not None]
    companions: dict[str, Companion] = {}
    try:
        companions |= {contender.name: Companion(contender) for contender in present}
        difference = agree({name: companion.hear()["answer"] for name, companion in companions.items()})
        if difference:
            raise Unequal(f"unequal output, so nothing is timed: {difference}")
        reports: dict[str, list[Report]] = {name: [] for name in companions}
        for number in range(warm + rounds):
            for name, companion in companions.items():
                found = companion.turn()
                if number >= warm:
                    reports[name].append(found)
    finally:
        for companion in companions.values():
            companion.__exit__()
    return with_missing(figures_of(reports, metric=metric), contenders)

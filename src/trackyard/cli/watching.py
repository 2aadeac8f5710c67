"""Progress of a command: a bar with rate and time left on a terminal, a line now and then in a log. Never on stdout."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from math import inf
from types import TracebackType
from typing import Literal

from trackyard.cli.printing import size

LINE_EVERY_S = 10.0
"""Seconds between lines where nobody watches a terminal: enough to see in a job's log that it lives."""
SENSIBLE_S = 1e7
"""A longer time left (a third of a year) says no more than that it has only begun."""

Unit = Literal["bytes", "rows", "images", "files"]


class Bar:
    """Shows how far something has come. unit: what is counted. Use as a context manager."""

    def __init__(self, label: str, unit: Unit) -> None:
        self._label, self._unit = label, unit
        self._told = time.monotonic()
        self._since: tuple[float, int] | None = None
        """When the counting began, and what was there already: that came at no rate of this command."""
        self._done = 0

    def __enter__(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        # rich's own idea of a terminal follows FORCE_COLOR, which is set in many a log.
        watched = sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[counted]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True, force_terminal=watched),
            transient=True,
            redirect_stdout=False,
            disable=not watched,
        )
        self._task = self._progress.add_task(self._label, total=None, counted="")
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def at(self, done: int, total: int | None = None, *, label: str | None = None, unit: Unit | None = None) -> None:
        """`done` of `total` so far. label, unit: instead of those of the bar, where it goes on with another thing."""
        now = time.monotonic()
        if self._since is None or done < self._done:
            self._since = (now, done)
        self._done = done
        began, there = self._since
        rate = (done - there) / (now - began) if now > began else 0.0
        label, unit = label or self._label, unit or self._unit
        counted = f"{_count(done, unit)}{f' of {_count(total, unit)}' if total else ''}, {_count(int(rate), unit)}/s"
        self._progress.update(self._task, completed=done, total=total, description=label, counted=counted)
        if self._progress.disable and now - self._told >= LINE_EVERY_S:
            self._told = now
            left_s = max(0, total - done) / rate if total and rate else inf
            left = f", {timedelta(seconds=round(left_s))} left" if left_s < SENSIBLE_S else ""
            sys.stderr.write(f"{label}: {counted}{left}\n")


def _count(number: int, unit: Unit) -> str:
    return size(number) if unit == "bytes" else f"{number:,} {unit}"

"""Delivery that goes on: pass after pass over the runs, through absences of the server, until it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from trackyard.errors import TrackyardError
from trackyard.record.tracking.server import Unreachable
from trackyard.record.tracking.sync import Readings, SyncReport, sync_all


def follow(
    root: Path,
    uri: str,
    every_s: float,
    *,
    whole_first: bool,
    say: Callable[[str], None],
    delivered: Callable[[int], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Deliver what is new in the runs below `root`, every `every_s` seconds. Ends by an exception only, anywhere.

    whole_first: ask the store about every run in the first pass; else, and later, runs that have not changed since they
    were delivered are passed over. say: gets a line when something new is wrong, and when all is well again.
    delivered: gets the number of points of each pass that had any.
    """
    readings: Readings = {}
    told: set[str] = set()
    only_changed = not whole_first
    while True:
        try:
            reports = sync_all(root, uri, only_changed=only_changed, readings=readings)
        except TrackyardError as error:
            # Another sync has the lock: it does the same work.
            reports, wrong = [], {error.what}
        else:
            wrong = _wrong(reports)
            only_changed = only_changed or not wrong
        for what in sorted(wrong - told):
            say(f"warning: {what}")
        if any(told - wrong) and not wrong:
            say("the tracking store takes everything again")
        told = wrong
        points = sum(report.points for report in reports)
        if points:
            delivered(points)
        sleep(every_s)


def _wrong(reports: list[SyncReport]) -> set[str]:
    """What is wrong, in words that do not change while it stays so."""
    return {
        "the tracking store does not answer; everything stays in the spool"
        if isinstance(report.warning, Unreachable)
        else report.warning.what
        for report in reports
        if report.warning is not None
    }

"""What a study measured of a run, among the curves of that run, so that MLflow compares arms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.launch.lock import run_lock
from trackyard.record.rundir import RunDirectory, open_existing, spooled_attempt
from trackyard.record.spool import Spool, read_spool


def record_outcome(path: Path, values: Mapping[str, float]) -> None:
    """Spool `values` of a study into a training run, whose curves have other names. path: its directory.

    The same values again add nothing. Others stand beside the earlier ones, one step further: a point that was
    delivered once is never changed (`trackyard.record.points`).
    """
    with run_lock(path):
        directory = open_existing(path)
        earlier = _earlier(directory, values)
        if earlier and earlier[-1]["values"] == values:
            return
        with Spool(directory.spool, directory.new_attempt()) as spool:
            spool.metrics(values, max((event["step"] + 1 for event in earlier), default=0))
            spool.status("finished")


def _earlier(directory: RunDirectory, values: Mapping[str, float]) -> list[dict[str, Any]]:
    """Outcomes that this run has already of any of the same metrics, oldest first."""
    return [
        event
        for path in sorted(directory.spool.glob("attempt-*.jsonl"), key=spooled_attempt)
        for _, event in read_spool(path).events
        if event["event"] == "metrics" and event["values"].keys() & values.keys()
    ]

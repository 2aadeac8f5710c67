"""What a study measured of a run, among the curves of that run, so that MLflow compares arms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trackyard.launch.lock import run_lock
from trackyard.record.rundir import RunDirectory, open_existing
from trackyard.record.spool import Spool, read_spool


def record_outcome(path: Path, values: Mapping[str, float], *, mark: str) -> None:
    """Spool `values` of a study into a training run. path: its directory. mark: a name that only an outcome has.

    The same values again add nothing. Others stand beside the earlier ones, one step further: a point that was
    delivered once is never changed (`trackyard.record.points`).
    """
    with run_lock(path):
        directory = open_existing(path)
        earlier = _earlier(directory, mark)
        if earlier and earlier[-1] == values:
            return
        with Spool(directory.spool, directory.new_attempt()) as spool:
            spool.metrics(values, len(earlier))
            spool.status("finished")


def _earlier(directory: RunDirectory, mark: str) -> list[Mapping[str, float]]:
    """Outcomes that this run has already, oldest first."""
    return [
        event["values"]
        for path in sorted(directory.spool.glob("attempt-*.jsonl"))
        for _, event in read_spool(path).events
        if event["event"] == "metrics" and mark in event["values"]
    ]

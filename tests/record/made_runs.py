"""Run directories with spools, made by the classes that training uses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.record.conftest import make_spec
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool

DEVICE = "made GPU"


@dataclass(frozen=True, kw_only=True)
class Life:
    """One attempt. metrics: (step, values) in order. machine: world, None where the attempt does not say. ends: status.

    seconds: from the machine event to the last metrics.
    """

    metrics: Sequence[tuple[int, Mapping[str, float]]] = ()
    machine: int | None = None
    ends: str | None = "finished"
    tags: Mapping[str, str] = field(default_factory=dict)
    seconds: int = 3600


def make_run(root: Path, *lives: Life, **changes: Any) -> RunDirectory:
    """A run below `root` with one spool per life; changes: of the specification."""
    run = open_or_create(root, make_spec(**changes))
    for life in lives:
        attempt = run.new_attempt()
        with Spool(run.spool, attempt) as spool:
            for key, value in life.tags.items():
                spool.tag(key, value)
            for step, values in life.metrics:
                spool.metrics(values, step)
            if life.ends:
                spool.status(life.ends)  # type: ignore[arg-type]
        path = run.spool / f"attempt-{attempt.number:04d}.jsonl"
        path.write_text(_timed(path.read_text().splitlines(), life, started=attempt.number * 10**9))
    return run


def _timed(lines: Sequence[str], life: Life, *, started: int) -> str:
    """The same lines at times of the test's choice, after the event of the machine."""
    events = [json.loads(line) for line in lines]
    if life.machine is not None:
        events.insert(0, {"event": "machine", "world": life.machine, "device": DEVICE, "host": "h", "timestamp": 0})
    for event in events:
        if "timestamp" in event:
            event["timestamp"] = started + (0 if event["event"] == "machine" else life.seconds * 1000)
    return "".join(json.dumps(event) + "\n" for event in events)

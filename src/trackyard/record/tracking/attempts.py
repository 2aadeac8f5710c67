"""Attempts in MLflow: each process life that trained is a run below its run, with its machine and what that measured.

A resume so keeps the run and adds an attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.digest import digest_json
from trackyard.record.points import PointCensus, batches, undelivered
from trackyard.record.rundir import spooled_attempt
from trackyard.record.tracking.reading import Reading
from trackyard.record.tracking.server import StoredRun
from trackyard.record.tracking.store import PARENT_TAG, RunGone, TrackingStore
from trackyard.record.tracking.synced import AttemptSynced

KIND_TAG = "trackyard.kind"
"""run, attempt or group: what a run of MLflow stands for."""

ATTEMPT_TAG = "trackyard.attempt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """One attempt that trained. number: of the attempt. status, ended_ms: as MLflow has them."""

    file: str
    number: int
    host: str
    started_ms: int
    status: str
    ended_ms: int | None
    tags: dict[str, str]

    @property
    def name(self) -> str:
        return f"attempt {self.number} on {self.host}"


def machines(reading: Reading) -> Iterator[Machine]:
    """The attempts that trained, oldest first."""
    files = list(reading.facts)
    for file in files:
        events = [event for _, event in reading.facts[file].events]
        begun = next((event for event in events if event["event"] == "machine"), None)
        if begun is None:
            continue
        span = reading.spans[file]
        status, ended_ms = _end(events, newest=file == files[-1], last_ms=span.last_ms)
        tags = {
            KIND_TAG: "attempt",
            "trackyard.host": str(begun["host"]),
            "trackyard.world": str(begun["world"]),
            "trackyard.device": str(begun["device"]),
        }
        if span.first is not None:
            tags |= {"trackyard.first_step": str(span.first), "trackyard.last_step": str(span.last)}
        yield Machine(
            file=file,
            number=spooled_attempt(Path(file)),
            host=str(begun["host"]),
            started_ms=int(begun["timestamp"]),
            status=status,
            ended_ms=ended_ms,
            tags=tags,
        )


def _end(events: list[dict[str, Any]], *, newest: bool, last_ms: int | None) -> tuple[str, int | None]:
    """How an attempt ended, and when. One that says nothing of it and has a successor was killed."""
    for event in reversed(events):
        if event["event"] == "machine_done":
            return "FINISHED", event["timestamp"]
        if event["event"] == "status" and event["state"] != "running":
            return {"failed": "FAILED", "stopped": "KILLED"}.get(event["state"], "FINISHED"), event["timestamp"]
    return ("RUNNING", None) if newest else ("KILLED", last_ms)


def deliver_attempt(
    store: TrackingStore, parent: StoredRun, run_id: str, machine: Machine, reading: Reading, known: AttemptSynced
) -> AttemptSynced:
    """Bring one attempt below the MLflow run `parent` up to date; what is known of it afterwards. known: before."""
    tags = machine.tags | {PARENT_TAG: parent.id}
    described = digest_json([tags, machine.status, machine.ended_ms])
    census = reading.censuses.setdefault(machine.file, PointCensus())
    lines = list(undelivered({machine.file: reading.machine[machine.file]}, {machine.file: known.offset}, census))
    new = [line for line in lines if line.points]
    if described == known.described and not new:
        return known
    stored = store.one(
        parent.experiment,
        {ATTEMPT_TAG: f"{run_id}/{machine.number}"},
        name=machine.name,
        start_ms=machine.started_ms,
        tags=tags,
    )
    if known.mlflow_run not in ("", stored.id):
        raise RunGone(
            what=f"{machine.name} of run {run_id} is another run in MLflow than before",
            why="what was delivered to the earlier one is no longer shown",
            fix="`trackyard record sync` delivers everything again",
        )
    for batch in batches(new):
        store.points(stored, [point for line in batch for point in line.points])
    if described != known.described:
        store.describe(stored, params={}, tags=tags, datasets=[])
    if (machine.status, machine.ended_ms) != (stored.status, stored.end_ms):
        store.status(stored, machine.status, machine.ended_ms)
    end = max([known.offset, *(line.end for line in lines)])
    return AttemptSynced(mlflow_run=stored.id, offset=end, described=described)

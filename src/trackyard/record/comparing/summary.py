"""A run in a few numbers: what it is, how it stands, what it came to and what that cost. Thousands are read in seconds.

Read from spec.json, attempts.jsonl and the spools alone, so it needs neither MLflow nor the artifacts of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from trackyard.digest import digest_json, short
from trackyard.errors import IdentityError
from trackyard.record.comparing.attempt_log import AttemptLog, begun_attempts, read_attempt
from trackyard.record.comparing.finals import Final, Finals
from trackyard.record.facts import events, status
from trackyard.record.identity import SCHEMA
from trackyard.record.rundir import SPEC, all_runs, spooled_attempt
from trackyard.record.spool import SpoolPart
from trackyard.schema import read_document

_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """One run.

    path: its directory, absolute. spec: as spec.json has it. status: MLflow's word for the newest attempt. attempts:
    those that began to train, none of a run that trains nothing. started_ms: of the first attempt, where none began of
    spec.json; ended_ms: None for a run that goes on or may. Both are milliseconds since 1970. metrics: last value of
    each, by name; no_number: those whose last one is not finite, which are not among them. tags: those that were
    spooled. evaluated: digests of the data that it was measured on, by name.
    world, device: of the newest attempt that said so. hours: of training, by the clock; device_hours: of all devices
    together; energy_kwh: of the GPUs. Each of these is None where it is not known, and 0 only if it was measured as 0.
    """

    path: Path
    run_id: str
    track: str
    stage: str
    seed: int
    spec: Mapping[str, Any]
    status: str
    attempts: int
    started_ms: int
    ended_ms: int | None
    metrics: Mapping[str, Final]
    no_number: tuple[str, ...]
    tags: Mapping[str, str]
    world: int | None
    device: str | None
    hours: float | None
    device_hours: float | None
    energy_kwh: float | None
    evaluated: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """As commands take it: track/stage/id."""
        return f"{self.track}/{self.stage}/{self.run_id}"


def read_summary(run_directory: Path) -> RunSummary:
    """The run in a directory. DataError without a spec.json, IdentityError if that was edited, or is of another run."""
    run_id, spec = _read_spec(run_directory / SPEC)
    path = _placed(run_directory, (spec["track"], spec["stage"], run_id))
    spools = sorted((path / "spool").glob("attempt-*.jsonl"), key=spooled_attempt)
    finals = Finals()
    logs = [read_attempt(spool, finals) for spool in spools]
    no_number = finals.settle()
    attempts = begun_attempts(path)
    parts = {spool.name: _part(log) for spool, log in zip(spools, logs, strict=True)}
    state, ended_ms = status(parts)
    machines = [log.machine for log in logs if log.machine is not None]
    hours, device_hours = _hours(logs)
    return RunSummary(
        path=path,
        run_id=run_id,
        track=str(spec["track"]),
        stage=str(spec["stage"]),
        seed=int(spec["seed"]),
        spec=spec,
        status=state,
        attempts=len(machines),
        started_ms=(
            int(datetime.fromisoformat(attempts[0].started).timestamp() * 1000)
            if attempts
            else int((path / SPEC).stat().st_mtime * 1000)
        ),
        ended_ms=ended_ms,
        metrics=finals,
        no_number=no_number,
        tags={key: value for event in events(parts, "tag") for key, value in event["values"].items()},
        world=int(machines[-1]["world"]) if machines else None,
        device=str(machines[-1]["device"]) if machines else None,
        hours=hours,
        device_hours=device_hours,
        energy_kwh=_energy(logs),
        evaluated={
            event["name"]: event["digest"] for event in events(parts, "dataset") if event["context"] == "evaluation"
        },
    )


def read_summaries(runs_root: Path, track: str | None = None) -> list[RunSummary]:
    """All runs below `runs_root`, or those of one track, sorted by path. Errors as `read_summary`, of the first run."""
    return [read_summary(path) for path in all_runs(runs_root) if track is None or path.parts[-3] == track]


def _read_spec(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The id and the specification. Not `read_spec`, whose search for secrets is for what is written, not read."""
    fix = f"restore {path} from a backup, or move {path.parent} away and start the run anew"
    document = read_document(path, SCHEMA, fix=fix)
    spec = document.get("spec")
    found = short(digest_json({"schema": SCHEMA, **spec})) if isinstance(spec, dict) else "of no specification"
    if found != document.get("run_id") or not isinstance(spec, dict):
        raise IdentityError(
            what=f"{path} says run {document.get('run_id')}, but its content is that of run {found}",
            why="it was edited after the run began, so what it says beside the numbers did not make them",
            fix=fix,
        )
    return found, spec


def _placed(run_directory: Path, place: tuple[str, str, str]) -> Path:
    """As `record.rundir.open_existing`: a copy that was put aside would count as one more seed of itself."""
    path = run_directory.absolute()
    if path.parts[-3:] != place:
        # Links are followed only where they are needed: there may be thousands of runs.
        path = run_directory.resolve()
    if path.parts[-3:] != place:
        raise IdentityError(
            what=f"{path} holds the run {'/'.join(place)}",
            why="a run is found by its directory, and this one was renamed or is a copy",
            fix=f"mv {path} <runs>/{'/'.join(place)}, or out of runs/ if that is there already",
        )
    return path


def _part(log: AttemptLog) -> SpoolPart:
    return SpoolPart(events=[(0, event) for event in log.others], end=0, torn=0, damaged=0)


def _hours(logs: Sequence[AttemptLog]) -> tuple[float | None, float | None]:
    """By the clock, and times the world; None where no attempt says what it ran on, or one that trained does not."""
    told = [(log.hours, int(log.machine["world"])) for log in logs if log.machine is not None]
    if not told or any(log.trained and log.machine is None for log in logs):
        return None, None
    clock = [(hours, world) for hours, world in told if hours is not None]
    return sum(hours for hours, _ in clock), sum(hours * world for hours, world in clock)


def _energy(logs: Sequence[AttemptLog]) -> float | None:
    """None unless every attempt that trained measured it: the sum of some attempts would look like that of all."""
    measured = [log.energy_j for log in logs if log.energy_j is not None]
    if not measured or any(log.trained and log.energy_j is None for log in logs):
        return None
    return sum(measured) / _JOULES_PER_KWH

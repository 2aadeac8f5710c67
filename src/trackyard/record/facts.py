"""What MLflow is told about a run besides its curves: tags, parameters, data sets, status. All of it from files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trackyard.record.identity import RunSpec, flatten
from trackyard.record.points import PointCensus
from trackyard.record.spool import SpoolPart
from trackyard.record.tracking.server import DatasetFact

_STATUS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "stopped": "SCHEDULED"}
_ENDED = ("FINISHED", "FAILED")
OPEN = ("RUNNING", "SCHEDULED")
"""States of MLflow in which more is to come."""
_SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """Everything about a run that is no point."""

    params: dict[str, str]
    tags: dict[str, str]
    datasets: list[DatasetFact]


def events(parts: Mapping[str, SpoolPart], kind: str) -> Iterator[dict[str, Any]]:
    """Events of one kind in all attempts, in order."""
    for part in parts.values():
        for _, event in part.events:
            if event["event"] == kind:
                yield event


def identity_tags(spec: RunSpec) -> dict[str, str]:
    """The identity of a run, as far as it has one: absent things get no tag."""
    facts = {
        "trackyard.kind": "run",
        "trackyard.stage": spec.stage,
        "trackyard.parent_run": spec.parent,
        "trackyard.plan": spec.plan,
        "trackyard.spec": spec.digest,
        "trackyard.image": spec.image,
        "trackyard.dirty": spec.code.dirty_digest,
        "mlflow.source.git.commit": spec.code.commit,
        **{f"trackyard.snapshot.{name}": fingerprint for name, fingerprint in spec.snapshots.items()},
    }
    return {key: value for key, value in facts.items() if value is not None}


def describe(
    spec: RunSpec, parts: Mapping[str, SpoolPart], census: PointCensus, refused: Mapping[str, int] | None = None
) -> Description:
    """Parameters of the specification, data sets of it and of the spool, and tags that show what was odd.

    refused: points that the store did not take, by metric.
    """
    tags = {**identity_tags(spec), "trackyard.attempts": str(sum(1 for _ in events(parts, "machine")))}
    if census.nonfinite:
        tags["trackyard.nonfinite"] = f"{len(census.nonfinite)}: {' '.join(census.nonfinite[:_SHOWN])}"
    if census.differences:
        tags["trackyard.repeated_steps_differ"] = json.dumps(census.differences, sort_keys=True)
    if refused:
        tags["trackyard.refused_metrics"] = json.dumps(refused, sort_keys=True)
    damaged = sum(part.damaged for part in parts.values())
    if damaged:
        tags["trackyard.damaged_spool_lines"] = str(damaged)
    for event in events(parts, "tag"):
        tags |= event["values"]
    params = {key: _shown(value) for key, value in flatten({**spec.parameters, "seed": spec.seed})}
    params |= {f"model.{key}": _shown(value) for key, value in flatten(spec.model)}
    return Description(params=params, tags=tags, datasets=_datasets(spec, parts))


def _datasets(spec: RunSpec, parts: Mapping[str, SpoolPart]) -> list[DatasetFact]:
    """Those that the run named, and the snapshots of the specification that it did not."""
    found = {
        event["name"]: DatasetFact(
            name=event["name"], digest=event["digest"], source=event["source"], context=event["context"]
        )
        for event in events(parts, "dataset")
    }
    for name, digest in spec.snapshots.items():
        found.setdefault(
            name, DatasetFact(name=name, digest=digest, source=f"snapshot {name} {digest}", context="training")
        )
    return list(found.values())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def status(parts: Mapping[str, SpoolPart]) -> tuple[str, int | None]:
    """MLflow's status of the newest attempt, and when it ended (milliseconds). One that was killed is running."""
    state, at_ms = "running", None
    if parts:
        newest = list(parts.values())[-1]
        for _, event in newest.events:
            if event["event"] == "status":
                state, at_ms = event["state"], event["timestamp"]
    return _STATUS[state], at_ms if _STATUS[state] in _ENDED else None

"""Comparisons as JSON (trackyard-comparison/1): of named runs, and of a track."""

from __future__ import annotations

import json
from typing import Any

from trackyard.evaluate.statistics import Interval
from trackyard.recipes.comparison.comparing import Findings
from trackyard.recipes.comparison.pairing import Pair, SharePair
from trackyard.record.comparing.summary import RunSummary
from trackyard.record.comparing.track_table import TrackTable

SCHEMA = "trackyard-comparison/1"


def comparison_document(findings: Findings) -> dict[str, Any]:
    """Of `trackyard compare RUN…`. Lists of values are in the order of `runs`."""
    comparison = findings.comparison
    return {
        "schema": SCHEMA,
        "of": "runs",
        "runs": [
            _run(run) | {"lacks": list(lacks)} for run, lacks in zip(comparison.runs, findings.lacks, strict=True)
        ],
        "differences": [
            {"kind": one.kind, "name": one.name, "values": [_leaf(value) for value in one.values]}
            for one in comparison.differences.differing
        ],
        "equal": dict(comparison.differences.equal),
        "code": [
            {"old": one.old, "new": one.new, "commits": list(one.commits), "absent": one.absent}
            for one in findings.history
        ],
        "outcomes": [
            {"metric": one.metric, "family": one.family, "unit": one.unit, "better": one.better,
             "values": list(one.values), "steps": list(one.steps), "best": list(one.best)}
            for one in comparison.outcomes
        ],
        "only_in_some": list(comparison.lone),
        "costs": [{"name": one.name, "unit": one.unit, "values": list(one.values)} for one in comparison.costs],
        "pairs": [_pair(one) for one in findings.pairing.pairs],
        "shares": [_share(one) for one in findings.pairing.shares],
        "not_compared": list(findings.pairing.notes),
        "verdicts": [{"family": one.family, "run": one.run, "text": one.text} for one in findings.verdicts],
    }  # fmt: skip


def track_document(table: TrackTable) -> dict[str, Any]:
    """Of `trackyard compare --track T`."""
    return {
        "schema": SCHEMA,
        "of": "track",
        "track": table.track,
        "columns": list(table.columns),
        "equal": table.equal,
        "metrics": [{"metric": one.metric, "unit": one.unit, "better": one.better} for one in table.metrics],
        "rows": [
            {
                "runs": [run.label for run in row.runs],
                "seeds": list(row.seeds),
                "redrawn": row.redrawn,
                "status": row.runs[0].status,
                "values": {
                    name: {"by_seed": True} if row.by_seed(name) else _leaf(row.values.get(name))
                    for name in table.columns
                },
                "metrics": {
                    name: {"mean": found.mean, "sd": found.sd, "low": found.low, "high": found.high, "runs": found.runs}
                    for name, found in row.metrics.items()
                },
                "device_hours": row.device_hours,
                "energy_kwh": row.energy_kwh,
            }
            for row in table.rows
        ],
    }


def _run(run: RunSummary) -> dict[str, Any]:
    return {
        "run": run.label,
        "status": run.status,
        "seed": run.seed,
        "attempts": run.attempts,
        "started_ms": run.started_ms,
        "ended_ms": run.ended_ms,
        "tags": dict(run.tags),
        "world": run.world,
        "device": run.device,
        "no_number": list(run.no_number),
    }


def _leaf(value: str | None) -> dict[str, Any]:
    """A value that is null and one that is not there are two things."""
    return {"absent": True} if value is None else {"value": json.loads(value)}


def _pair(one: Pair) -> dict[str, Any]:
    gap = one.tested.difference
    return {
        "run": one.run,
        "metric": one.metric,
        "better": one.better,
        "samples": gap.samples,
        "first": gap.second,
        "other": gap.first,
        "difference": gap.difference,
        "ci95": _ends(gap.ci95),
        "test": one.tested.test,
        "p": one.tested.p,
        "holm_p": one.holm_p,
        "found": one.found,
    }


def _share(one: SharePair) -> dict[str, Any]:
    return {
        "run": one.run,
        "metric": one.metric,
        "better": one.better,
        "answers": one.answers,
        "values": list(one.values),
        "ci95": [_ends(ends) for ends in one.ci95],
        "found": one.found,
    }


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]

"""The table of the track: what every arm scores on every set, over its seeds. Source: theworld spec section 12."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

from trackyard.evaluate.statistics import Interval
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.report.gathering import Gathered
from trackyard.recipes.datacomp.results import Result

Metric = Literal["accuracy", "macro"]
HEADLINE: Mapping[str, Metric] = {"blink": "macro", "vsr": "accuracy", "spatial": "accuracy", "captions": "accuracy"}
"""What a set is compared by. macro: unweighted mean over tasks; its items, and its interval, are drawn within them."""
TITLES = {"blink": "BLINK", "vsr": "VSR", "spatial": "SpatialRGPT-Bench", "captions": "captions"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An arm on a set. scores, ci95_of: by cell, which are its seeds; score: mean of them; ci95: means of their ends.

    chance: of guessing, None where nobody can say. empty, unparsed: largest share among the cells.
    """

    arm: str
    set: str
    metric: Metric
    items: int
    score: float
    ci95: Interval
    scores: Mapping[str, float]
    ci95_of: Mapping[str, Interval]
    chance: float | None
    empty: float | None
    unparsed: float

    def to_json(self) -> dict[str, Any]:
        intervals = {cell: [found.low, found.high] for cell, found in self.ci95_of.items()}
        return asdict(self) | {"ci95": [self.ci95.low, self.ci95.high], "ci95_of": intervals}


def tabulate(gathered: Gathered, parameters: DatacompParameters) -> list[Row]:
    """By set, then by arm, in the order in which they are declared."""
    return [
        _row(arm, name, {cell.label: gathered.evaluated(name)[cell.label] for cell in parameters.cells_of(arm)})
        for name in parameters.evaluation.sets
        for arm in parameters.arms
    ]


def _row(arm: str, name: str, found: Mapping[str, Result]) -> Row:
    metric, bodies = HEADLINE[name], {label: result.body for label, result in found.items()}
    scores = {label: float(body[metric]) for label, body in bodies.items()}
    ends = {label: Interval(*body["ci95"][metric]) for label, body in bodies.items()}
    empty = [body["empty_rate"] for body in bodies.values() if body["empty_rate"] is not None]
    first = next(iter(bodies.values()))
    return Row(
        arm=arm,
        set=name,
        metric=metric,
        items=first["n"],
        score=fmean(scores.values()),
        ci95=Interval(fmean(end.low for end in ends.values()), fmean(end.high for end in ends.values())),
        scores=scores,
        ci95_of=ends,
        chance=chance_of(first),
        empty=max(empty) if empty else None,
        unparsed=max(float(body["unparsed_rate"]) for body in bodies.values()),
    )


def chance_of(body: Mapping[str, Any]) -> float | None:
    """By one constant answer where the set says it, else by guessing among options; free answers have none."""
    if "majority" in body:
        return float(body["majority"]["accuracy"])
    by_task: dict[str, list[float]] = {}
    for record in body["records"]:
        if not record["loglik"]:
            return None
        by_task.setdefault(record["task"], []).append(1 / len(record["loglik"]))
    return fmean(fmean(values) for values in by_task.values())

"""SpatialRGPT-Bench: generated answers, read by rule. Source: theworld spec sections 12.1 to 12.3.

Qualitative categories are `<relation>_predicate` (yes or no) and `<relation>_choice` (which region); of the others,
those about a direction are in hours of a clock, and the rest are lengths with a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trackyard.evaluate.spatial_answers import (
    OPPOSITES,
    chosen_region,
    circular_difference,
    clock_degrees,
    metres,
    polarity,
    relative_error,
)
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.scoring import Answer, Record, share

QUALITATIVE, QUANTITATIVE = "qualitative", "quantitative"
COUNTS = {QUALITATIVE: 657, QUANTITATIVE: 749}
"""Items of each type; those about directions are among the quantitative ones."""
WITHIN = 0.25
"""Relative error up to which a length counts as right."""
REPORTED = (0.10, WITHIN, 0.50)
HOUR = 30.0
"""Degrees: a direction counts as right within an hour of the clock."""
Reading = Literal["predicate", "choice", "direction", "length"]


@dataclass(frozen=True)
class Spatial:
    name: str = "spatial"
    generates: Literal["long"] = "long"
    compares: bool = False
    ends: bool = False

    def problem(self, item: Item) -> str | None:
        """The category is known, and the gold answer is read as what it says."""
        kind, relation = reading(item.task, str(item.meta.get("type")))
        if kind is None:
            return f"category {item.task!r} of type {item.meta.get('type')!r} has no rule"
        value = _read(item.gold, kind, relation)
        return f"its gold answer {item.gold!r} is not read by the rule for {item.task}" if value is None else None

    def record(self, item: Item, answer: Answer) -> Record:
        kind, relation = reading(item.task, item.meta["type"])
        text = answer.text or ""
        gold = _read(item.gold, kind, relation)
        said = _read(text, kind, relation)
        error = None
        if kind in ("direction", "length") and said is not None and gold is not None:
            error = circular_difference(said, gold) if kind == "direction" else relative_error(said, gold)
        right = said is not None and (
            said == gold if error is None else error <= (HOUR if kind == "direction" else WITHIN)
        )
        return Record(
            id=item.id,
            task=item.task,
            gold=item.gold,
            pred=None if said is None else _written(said, kind),
            correct=right,
            text=text,
            length=answer.length,
            said={"reading": kind, "type": item.meta["type"], "error": error},
        )

    def figures(self, records: Sequence[Record]) -> dict[str, Any]:
        """By type, with directions apart: a circular difference in degrees never mixes with a relative error."""
        by_reading = {kind: [r for r in records if r.said["reading"] == kind] for kind in ("length", "direction")}
        qualitative = [record for record in records if record.said["type"] == QUALITATIVE]
        lengths, directions = (_errors(by_reading[kind]) for kind in ("length", "direction"))
        return {
            QUALITATIVE: _summary(qualitative),
            QUANTITATIVE: _summary(by_reading["length"])
            | {
                "within": {
                    f"{limit:.2f}": share([error is not None and error <= limit for error in lengths])
                    for limit in REPORTED
                },
                "mean_abs_relative_error": _mean(lengths),
            },
            "direction": _summary(by_reading["direction"]) | {"mean_degrees": _mean(directions)},
        }


def reading(category: str, kind: str) -> tuple[Reading | None, str]:
    """How answers of a category are read, and about which relation; None for a category without a rule."""
    relation, _, form = category.rpartition("_")
    if kind == QUALITATIVE:
        if relation not in OPPOSITES:
            return None, ""
        return ("predicate" if form == "predicate" else "choice" if form == "choice" else None), relation
    if kind != QUANTITATIVE:
        return None, ""
    return ("direction" if "direction" in category else "length"), ""


def _read(text: str, kind: Reading | None, relation: str) -> float | None:
    """A number for whatever is said: 1 or 0, the region, degrees, metres."""
    if kind == "predicate":
        return _number(polarity(text, relation))
    if kind == "choice":
        return _number(chosen_region(text, relation))
    return clock_degrees(text) if kind == "direction" else metres(text)


def _number(value: int | None) -> float | None:
    return None if value is None else float(value)


def _written(value: float, kind: Reading | None) -> str:
    if kind == "predicate":
        return "yes" if value else "no"
    if kind == "choice":
        return f"region {value:.0f}"
    return f"{value:g} degrees" if kind == "direction" else f"{value:g} m"


def _errors(records: Sequence[Record]) -> list[float | None]:
    found = (record.said["error"] for record in records)
    return [None if error is None else float(error) for error in found]


def _mean(errors: Sequence[float | None]) -> float | None:
    """Over answers that were read; how many were not is said beside it."""
    read = [error for error in errors if error is not None]
    return float(np.mean(read)) if read else None


def _summary(records: Sequence[Record]) -> dict[str, Any]:
    return {
        "n": len(records),
        "accuracy": share([record.correct for record in records]),
        "unparsed_rate": share([record.pred is None for record in records]),
    }

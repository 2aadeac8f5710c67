"""Which points of a run's spools are delivered: of each (key, step) exactly one, the first spooled.

Files are only appended to, so which one is first never changes, however often a run is resumed or a sync is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trackyard.record.spool import SpoolPart
from trackyard.record.tracking.server import BATCH, Point

MEASURED = ("usage/", "system/")
"""Metrics below these prefixes measure the machine; that they differ when a step is repeated says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One spool line: the offset after it, and those of its points that are to be delivered."""

    file: str
    end: int
    points: list[Point]


@dataclass(kw_only=True, slots=True)
class PointCensus:
    """What the points of a run look like as a whole.

    nonfinite: "key@step=nan" of each (key, step) whose first value is not finite; MLflow gets them as a tag.
    differences: by key, how often a step was repeated with another value; a resumed run should repeat bit for bit.
    seen: the value of each key and step that was spooled first, so that a part that is read later is told from it.
    """

    nonfinite: list[str] = field(default_factory=list)
    differences: dict[str, int] = field(default_factory=dict)
    seen: dict[str, dict[int, float]] = field(default_factory=dict, repr=False, compare=False)


def undelivered(parts: Mapping[str, SpoolPart], offsets: Mapping[str, int], census: PointCensus) -> Iterator[Line]:
    """Lines after `offsets` (bytes, by file) in order; `census` is complete when the iterator has ended.

    What was delivered counts as spooled first, whatever its file: a network file system may show a file's end late.
    """
    offsets = dict(offsets)
    for delivered in (True, False):
        for name, part in parts.items():
            for end, event in part.events:
                if (end <= offsets.get(name, 0)) is not delivered:
                    continue
                points = _first_points(event, census) if event["event"] in ("metrics", "nonfinite") else []
                if not delivered:
                    yield Line(file=name, end=end, points=points)


def _first_points(event: Mapping[str, Any], census: PointCensus) -> list[Point]:
    points = []
    step, timestamp = event["step"], event["timestamp"]
    for key, text in event["values"].items():
        value = float(text)
        steps = census.seen.setdefault(key, {})
        if step not in steps:
            steps[step] = value
            if math.isfinite(value):
                points.append(Point(key=key, value=value, step=step, timestamp=timestamp))
            else:
                census.nonfinite.append(f"{key}@{step}={value}")
        elif not _same(steps[step], value) and not key.startswith(MEASURED):
            census.differences[key] = census.differences.get(key, 0) + 1
    return points


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Whole lines, up to `BATCH` points together; a line of more than that stands alone."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and size + len(line.points) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.points)
    if batch:
        yield batch

"""Accuracy over latency for every data set and axis, and how far the frontiers of data sets agree.

Source: nine-datasets spec sections 8 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal

from trackyard.evaluate.frontier import Frontier, FrontierPoint, frontier, overlap, write_frontier
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.measured import Measurement

Axis = Literal["total", "prefill", "decode"]
AXES: tuple[Axis, ...] = ("total", "prefill", "decode")
FOLDER = "frontiers"

Frontiers = Mapping[str, Mapping[Axis, Frontier]]
"""By data set, then by axis."""


def frontiers(gathered: Gathered) -> dict[str, dict[Axis, Frontier]]:
    """Of every data set that has a configuration."""
    return {
        name: {
            axis: frontier(
                name,
                f"t_{axis}_ms.P50",
                gathered.tasks[name].metric,
                [point(result, axis, gathered.tasks[name].metric) for result in here.values()],
                watermark=gathered.watermarks[name],
            )
            for axis in AXES
        }
        for name, here in gathered.results.items()
        if here
    }


def steps(found: Frontier) -> list[FrontierPoint]:
    """Points of the frontier, from fast to good."""
    return [each for each in found.points if each.on_frontier]


def climbs(found: Frontier) -> list[tuple[FrontierPoint, FrontierPoint]]:
    """From each place of the frontier to the next; configurations on exactly one place are one."""
    places = {(each.x, each.y): each for each in reversed(steps(found))}
    return list(pairwise(reversed(places.values())))


def overlaps(found: Frontiers, axis: Axis) -> dict[str, dict[str, float]]:
    """Jaccard index of the frontier keys of every two data sets."""
    return overlap({name: by_axis[axis].keys for name, by_axis in found.items()})


def write_frontiers(found: Frontiers, folder: Path) -> None:
    """frontiers/<data set>-<axis>.json."""
    for name, by_axis in found.items():
        for axis, each in by_axis.items():
            write_frontier(folder / FOLDER / f"{name}-{axis}.json", each)


def point(result: Measurement, axis: Axis, metric: str) -> FrontierPoint:
    """P50 of a part of the time, milliseconds, and the metric. A single timing has no interval."""
    times, value = result.times.parts[axis], result.metric[metric]
    ends = times.p50_ci95
    return FrontierPoint(
        key=result.key,
        x=times.p50,
        y=value.value,
        x_lo=times.p50 if ends is None else ends.low,
        x_hi=times.p50 if ends is None else ends.high,
        y_lo=value.lo,
        y_hi=value.hi,
    )

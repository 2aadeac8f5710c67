"""The accuracy/latency frontier of a data set, strict in the sense of Pareto. Source: nine-datasets spec section 9."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from trackyard.errors import DataError
from trackyard.sealed import read_sealed, write_sealed

SCHEMA = "trackyard-frontier/1"
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontierPoint:
    """A configuration: x is less the better, y more the better, each with the ends of its 95 % interval."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: str
    x: Finite
    y: Finite
    x_lo: Finite
    x_hi: Finite
    y_lo: Finite
    y_hi: Finite
    on_frontier: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontier:
    """All points of a data set, by rising x. x, y: what they are, as `t_total_ms.P50` and `vqa`.

    watermark: of a partial view, "" if nothing is missing.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    dataset: str
    x: str
    y: str
    points: tuple[FrontierPoint, ...]
    watermark: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """Those on the frontier, by rising x."""
        return tuple(point.key for point in self.points if point.on_frontier)


def undominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each (x, y) is on the frontier: none other has x as low and y as high, and one of them better.

    Points that are equal in both stay together. ValueError for a number that is not finite.
    """
    if not all(abs(number) < inf for point in points for number in point):
        raise ValueError("a point that is not finite is nowhere in a plane")
    best = -inf
    kept = set()
    for x, column in groupby(sorted(set(points)), key=lambda point: point[0]):
        # Of those that take equally long only the best, and only if it beats all that are faster.
        top = max(y for _, y in column)
        if top > best:
            best = top
            kept.add((x, top))
    return [point in kept for point in points]


def frontier(dataset: str, x: str, y: str, points: Sequence[FrontierPoint], *, watermark: str = "") -> Frontier:
    """Points of a data set with those on the frontier marked. DataError for no points, or one key twice."""
    keys = {point.key for point in points}
    if not points or len(keys) != len(points):
        raise DataError(
            what=f"{dataset}: {len(points)} points of {len(keys)} configurations",
            why="each configuration is one point",
            fix="run the stage that measures them again: trackyard run nine compare",
        )
    on = undominated([(point.x, point.y) for point in points])
    marked = [
        FrontierPoint(**(asdict(point) | {"on_frontier": stays})) for point, stays in zip(points, on, strict=True)
    ]
    ordered = tuple(sorted(marked, key=lambda point: (point.x, -point.y, point.key)))
    return Frontier(dataset=dataset, x=x, y=y, points=ordered, watermark=watermark)


def jaccard(one: Collection[str], other: Collection[str]) -> float:
    """How much two sets of keys overlap: common ones over all; 1 for equal sets, also without any key."""
    union = set(one) | set(other)
    return len(set(one) & set(other)) / len(union) if union else 1.0


def overlap(frontiers: Mapping[str, Collection[str]]) -> dict[str, dict[str, float]]:
    """Jaccard overlap of the frontier keys of every two data sets."""
    return {a: {b: jaccard(frontiers[a], frontiers[b]) for b in frontiers} for a in frontiers}


_FRONTIER: TypeAdapter[Frontier] = TypeAdapter(Frontier)


def write_frontier(path: Path, found: Frontier) -> None:
    """Write frontier.json."""
    write_sealed(path, SCHEMA, asdict(found))


def read_frontier(path: Path, *, fix: str) -> Frontier:
    """DataError if the file is absent or was altered."""
    body: dict[str, Any] = read_sealed(path, SCHEMA, fix=fix)
    try:
        return _FRONTIER.validate_python(body)
    except ValidationError as error:
        raise DataError(what=f"{path} is no frontier: {error}", why="it lacks a part", fix=fix) from error

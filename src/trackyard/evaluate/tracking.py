"""Tracks of points against true regions: F1 per frame, and HOTA, which also asks who is who.

Source: molmo2 spec section 14; Luiten et al., HOTA, IJCV 2021, at one threshold, since a point is in a region or not.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trackyard.evaluate.pointing import TruePoint, score_points


@dataclass(frozen=True, slots=True)
class TrackedPoint:
    """A predicted point. time: seconds; name: of the object, through time; x, y: fractions."""

    time: float
    name: Hashable
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class TrackedRegion:
    """Where a true object is at a time."""

    name: Hashable
    point: TruePoint


@dataclass(frozen=True, slots=True)
class TrackScore:
    """frame_f1: mean over frames. detection, association: DetA and AssA; hota: the root of their product."""

    frame_f1: float
    detection: float
    association: float
    hota: float


def score_tracks(predicted: Sequence[TrackedPoint], truth: Sequence[TrackedRegion]) -> TrackScore:
    """Score one query, over every frame that holds a prediction or a true object. Without either, all scores are 1."""
    times = sorted({_frame(point.time) for point in predicted} | {_frame(region.point.time) for region in truth})
    if not times:
        return TrackScore(1.0, 1.0, 1.0, 1.0)
    guesses = {time: [point for point in predicted if _frame(point.time) == time] for time in times}
    goals = {time: [region for region in truth if _frame(region.point.time) == time] for time in times}
    f1 = [
        score_points([(time, p.x, p.y) for p in guesses[time]], [region.point for region in goals[time]]).f1
        for time in times
    ]
    detection, association = _hota([_Frame.of(guesses[time], goals[time]) for time in times], predicted, truth)
    return TrackScore(math.fsum(f1) / len(f1), detection, association, math.sqrt(detection * association))


def _frame(time: float) -> float:
    """Times are printed with one decimal; equal ones are one frame."""
    return round(time, 1)


@dataclass(frozen=True, slots=True)
class _Frame:
    """hits [predictions, objects]: 1 where a predicted point lies in a true region, else 0."""

    predicted: list[Hashable]
    true: list[Hashable]
    hits: NDArray[np.float64]

    @classmethod
    def of(cls, points: Sequence[TrackedPoint], regions: Sequence[TrackedRegion]) -> _Frame:
        hits = np.zeros((len(points), len(regions)))
        for row, point in enumerate(points):
            for column, region in enumerate(regions):
                x0, y0, x1, y1 = region.point.box
                hits[row, column] = x0 <= point.x <= x1 and y0 <= point.y <= y1
        return cls([point.name for point in points], [region.name for region in regions], hits)


def _hota(
    frames: Sequence[_Frame], predicted: Sequence[TrackedPoint], truth: Sequence[TrackedRegion]
) -> tuple[float, float]:
    """DetA and AssA."""
    rows, columns = _numbers(point.name for point in predicted), _numbers(region.name for region in truth)
    lengths = np.bincount([rows[point.name] for point in predicted], minlength=len(rows)).astype(float)
    spans = np.bincount([columns[region.name] for region in truth], minlength=len(columns)).astype(float)
    together = np.zeros((len(rows), len(columns)))  # how often a pair could be one, shared among rivals of a frame
    for frame in frames:
        both = frame.hits.sum(axis=0)[None, :] + frame.hits.sum(axis=1)[:, None] - frame.hits
        share = np.divide(frame.hits, both, out=np.zeros_like(frame.hits), where=both > 0)
        together[np.ix_([rows[name] for name in frame.predicted], [columns[name] for name in frame.true])] += share
    alignment = together / np.maximum(lengths[:, None] + spans[None, :] - together, np.finfo(float).tiny)
    matches = np.zeros_like(together)
    for frame in frames:
        row, column = [rows[name] for name in frame.predicted], [columns[name] for name in frame.true]
        # Hits first: a pair that does not hit is worth nothing, whatever its alignment.
        pairs = linear_sum_assignment(alignment[np.ix_(row, column)] * frame.hits, maximize=True)
        for r, c in zip(*pairs, strict=True):
            matches[row[r], column[c]] += frame.hits[r, c]
    hit = matches.sum()
    detection = hit / (len(predicted) + len(truth) - hit)
    if not hit:
        return 0.0, 0.0
    kept = matches > 0
    union = (lengths[:, None] + spans[None, :] - matches)[kept]
    return float(detection), float((matches[kept] * matches[kept] / union).sum() / hit)


def _numbers(names: Iterable[Hashable]) -> dict[Hashable, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}

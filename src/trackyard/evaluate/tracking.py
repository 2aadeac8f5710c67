"""Tracks of points against true regions: F1 per frame, and HOTA, which also asks who is who.

Source: molmo2 spec section 14; Luiten et al., HOTA, IJCV 2021, at one threshold, since a point is in a region or not.
T: true objects of a frame or of a query, P: predicted ones.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Frame:
    """Who is where at one time. true, predicted: numbers of objects; hits [T, P]: 1 where a point lies in a region."""

    true: list[int]
    predicted: list[int]
    hits: NDArray[np.float64]


def score_tracks(predicted: Sequence[TrackedPoint], truth: Sequence[TrackedRegion]) -> TrackScore:
    """Score one query, over every frame that holds a prediction or a true object. Without either, all scores are 1."""
    moments: dict[float, _Moment] = {}
    for point in predicted:
        moments.setdefault(_frame(point.time), _Moment()).points.append(point)
    for region in truth:
        moments.setdefault(_frame(region.point.time), _Moment()).regions.append(region)
    if not moments:
        return TrackScore(1.0, 1.0, 1.0, 1.0)
    true = _numbers([region.name for region in truth])
    guessed = _numbers([point.name for point in predicted])
    frames, f1 = [], []
    for time in sorted(moments):
        points, regions = moments[time].points, moments[time].regions
        hits = [[float(region.point.holds(point.x, point.y, time=time)) for point in points] for region in regions]
        frames.append(
            Frame(
                [true[region.name] for region in regions],
                [guessed[point.name] for point in points],
                np.array(hits, dtype=np.float64).reshape(len(regions), len(points)),
            )
        )
        found = score_points([(time, point.x, point.y) for point in points], [region.point for region in regions])
        f1.append(found.f1)
    detection, association = hota(frames)
    return TrackScore(math.fsum(f1) / len(f1), detection, association, math.sqrt(detection * association))


def hota(frames: Sequence[Frame]) -> tuple[float, float]:
    """DetA and AssA of frames; (0, 0) where nothing is hit. Objects are numbered from 0, true and predicted apart."""
    spans = np.bincount([name for frame in frames for name in frame.true]).astype(float)
    lengths = np.bincount([name for frame in frames for name in frame.predicted]).astype(float)
    together = np.zeros((len(spans), len(lengths)))  # how often a pair could be one, shared among rivals of a frame
    for frame in frames:
        both = frame.hits.sum(axis=0)[None, :] + frame.hits.sum(axis=1)[:, None] - frame.hits
        part = np.divide(frame.hits, both, out=np.zeros_like(frame.hits), where=both > 0)
        np.add.at(together, np.ix_(frame.true, frame.predicted), part)
    from scipy.optimize import linear_sum_assignment  # see evaluate.pointing

    alignment = together / np.maximum(spans[:, None] + lengths[None, :] - together, np.finfo(float).tiny)
    matches = np.zeros_like(together)
    for frame in frames:
        # A pair that does not hit is worth nothing, whatever its alignment.
        pairs = linear_sum_assignment(alignment[np.ix_(frame.true, frame.predicted)] * frame.hits, maximize=True)
        for t, p in zip(*pairs, strict=True):
            matches[frame.true[t], frame.predicted[p]] += frame.hits[t, p]
    hit = matches.sum()
    if not hit:
        return 0.0, 0.0
    kept = matches > 0
    union = (spans[:, None] + lengths[None, :] - matches)[kept]
    detection = hit / (spans.sum() + lengths.sum() - hit)
    return float(detection), float((matches[kept] * matches[kept] / union).sum() / hit)


@dataclass(frozen=True, slots=True)
class _Moment:
    points: list[TrackedPoint] = field(default_factory=list)
    regions: list[TrackedRegion] = field(default_factory=list)


def _frame(time: float) -> float:
    """Times are printed with one decimal; equal ones are one frame."""
    return round(time, 1)


def _numbers(names: Sequence[Hashable]) -> dict[Hashable, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}

"""Precision, recall and F1 of points by one-to-one assignment. Source: molmo2 spec section 14.

What a point must lie in is a mask where the data have one and a box elsewhere. Masks are arrays of bool, as
PixMo-Points-Eval stores them and as the run lengths of the video sets decode to; an object may have one at several
times. P: predicted points, T: true ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError

Mask = NDArray[np.bool_]
"""[height, width] in pixels of the picture."""
Guess = tuple[float, float, float]
"""A predicted point: time, x, y, as in `TruePoint`."""


@dataclass(frozen=True, slots=True)
class TruePoint:
    """A point to be found, in fractions. time: image number or seconds.

    box: (x0, y0, x1, y1), in fractions, that a hit at that time lies in. masks: in its place, where the object is, by
    time; a hit lies in the mask of its own time. DataError unless exactly one of them is given.
    """

    time: float
    x: float
    y: float
    box: tuple[float, float, float, float] | None = None
    masks: Mapping[float, Mask] | None = None

    def __post_init__(self) -> None:
        if (self.box is None) == (self.masks is None):
            raise DataError(
                what=f"the point ({self.x}, {self.y}) at {self.time} has {'no' if self.box is None else 'two'} regions",
                why="a prediction hits if it lies in one: a box, or the mask of its time",
                fix="import the data set with masks, or else with boxes",
            )

    def holds(self, x: float, y: float, *, time: float) -> bool:
        """Whether a prediction hits. In a mask the point is rounded to a pixel; beyond the edge is a miss."""
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            return _same_time(time, self.time) and x0 <= x <= x1 and y0 <= y <= y1
        mask = next((mask for at, mask in (self.masks or {}).items() if _same_time(at, time)), None)
        if mask is None:
            return False
        height, width = mask.shape
        row, column = round(y * height), round(x * width)
        return 0 <= row < height and 0 <= column < width and bool(mask[row, column])


@dataclass(frozen=True, slots=True)
class PointScore:
    """Scores of one example."""

    precision: float
    recall: float
    f1: float


def _same_time(first: float, second: float) -> bool:
    """Times are printed with one decimal; equal ones are one time."""
    return round(first, 1) == round(second, 1)


def score_points(predicted: Sequence[Guess], truth: Sequence[TruePoint], *, duration: float = 0.0) -> PointScore:
    """Score predictions: cheapest assignment by distance, a hit lies in the region of the point that it is assigned.

    duration: of a video, in seconds; distances are then between points whose time, x and y go from 0 to 100 with one
    decimal. 0 for images: distances are in pixels where there are masks, which know the picture's shape, and in
    fractions elsewhere; numbers of images are far apart. Without truth, nothing predicted is 1 and anything else 0.
    """
    if not predicted or not truth:
        return _share(0, len(predicted), len(truth))
    guess = np.array(predicted, dtype=np.float64)
    goal = np.array([(point.time, point.x, point.y) for point in truth], dtype=np.float64)
    if duration > 0:
        scale = np.array([100 / duration, 100, 100])
        guess, goal = (guess * scale).round(1), (goal * scale).round(1)
    else:
        height, width = _picture(truth)
        scale = np.array([max(height, width), width, height])
        guess, goal = guess * scale, goal * scale
    pairs = _assigned(guess, goal)
    hits = sum(truth[t].holds(*predicted[p][1:], time=predicted[p][0]) for p, t in pairs)
    return _share(hits, len(predicted), len(truth))


def _assigned(guess: NDArray[np.float64], goal: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (p, t) of the cheapest one-to-one assignment by distance. guess: [P, D], goal: [T, D]."""
    difference = guess[:, None, :] - goal[None, :, :]
    cost = np.sqrt(np.einsum("ptd,ptd->pt", difference, difference))
    if 1 in cost.shape:
        p, t = divmod(int(cost.argmin()), cost.shape[1])
        return [(p, t)]
    from scipy.optimize import linear_sum_assignment  # takes longer than everything else that parameters need

    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _share(hits: int, predicted: int, true: int) -> PointScore:
    """Precision, recall and F1 of counts. Without truth, nothing predicted is 1 and anything else 0."""
    if not true:
        right = float(not predicted)
        return PointScore(right, right, right)
    if not hits:
        return PointScore(0.0, 0.0, 0.0)
    precision, recall = hits / predicted, hits / true
    return PointScore(precision, recall, 2 * precision * recall / (precision + recall))


def _picture(truth: Sequence[TruePoint]) -> tuple[int, int]:
    """Height and width of the first mask; (1, 1) where there are only boxes."""
    for point in truth:
        for mask in (point.masks or {}).values():
            height, width = mask.shape
            return height, width
    return 1, 1

"""Precision, recall and F1 of points by one-to-one assignment. Source: molmo2 spec section 14."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class TruePoint:
    """A point to be found, in fractions. time: image number or seconds; box: (x0, y0, x1, y1) that a hit lies in."""

    time: float
    x: float
    y: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PointScore:
    """Scores of one example."""

    precision: float
    recall: float
    f1: float


def score_points(
    predicted: Sequence[tuple[float, float, float]], truth: Sequence[TruePoint], *, duration: float = 0.0
) -> PointScore:
    """Score (time, x, y) predictions: cheapest assignment by distance, a hit lies in the assigned box at its time.

    duration: of a video, in seconds; distances are then between points whose time, x and y go from 0 to 100 with one
    decimal. 0 for images, whose numbers are far apart as they are. Without truth, nothing predicted is 1 and anything
    else 0.
    """
    if not truth:
        right = float(not predicted)
        return PointScore(right, right, right)
    if not predicted:
        return PointScore(0.0, 0.0, 0.0)
    guess = np.array(predicted, dtype=np.float64)
    goal = np.array([(point.time, point.x, point.y) for point in truth], dtype=np.float64)
    if duration > 0:
        scale = np.array([100 / duration, 100, 100])
        guess, goal = (guess * scale).round(1), (goal * scale).round(1)
    cost = np.linalg.norm(guess[:, None, :] - goal[None, :, :], axis=-1)
    from scipy.optimize import linear_sum_assignment  # takes longer than everything else that parameters need

    hits = sum(_hit(predicted[row], truth[column]) for row, column in zip(*linear_sum_assignment(cost), strict=True))
    precision, recall = hits / len(predicted), hits / len(truth)
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return PointScore(precision, recall, f1)


def _hit(guess: tuple[float, float, float], point: TruePoint) -> bool:
    time, x, y = guess
    x0, y0, x1, y1 = point.box
    return round(time, 1) == round(point.time, 1) and x0 <= x <= x1 and y0 <= y <= y1

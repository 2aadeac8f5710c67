"""Answers that point, measured against the points and regions of a question. Source: molmo2 spec section 14.

A question's `truth` holds `points`: list of {t, id, x, y, box or masks} (as in a row's meta; t counted from what is
shown, those out of sight left out; masks: bool [h, w] by time) and `duration`: seconds that are shown, 0 for images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackyard.errors import DataError
from trackyard.evaluate.pointing import PointScore, TruePoint, score_points
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tracking import TrackedPoint, TrackedRegion, TrackScore, score_tracks
from trackyard.feed.points import parse_points


def score_pointing(question: Question, answer: str) -> PointScore:
    """Precision, recall and F1 of the points in an answer. DataError where the question has no regions."""
    guesses = [(point.frame, point.x, point.y) for point in parse_points(answer)]
    truth = [_true_point(question, point) for point in _points(question)]
    return score_points(guesses, truth, duration=float(question.truth.get("duration", 0.0)))


def score_tracking(question: Question, answer: str) -> TrackScore:
    """F1 per frame and HOTA of the tracks in an answer. DataError as `score_pointing`."""
    guesses = [TrackedPoint(point.frame, point.id, point.x, point.y) for point in parse_points(answer)]
    truth = [TrackedRegion(str(point["id"]), _true_point(question, point)) for point in _points(question)]
    return score_tracks(guesses, truth)


def _points(question: Question) -> list[Mapping[str, Any]]:
    if "points" not in question.truth:
        raise DataError(
            what=f"{question.id} has no points",
            why="pointing is scored by what a right point lies in",
            fix="import the data set with its points and regions, or leave the task out",
        )
    return list(question.truth["points"])


def _true_point(question: Question, point: Mapping[str, Any]) -> TruePoint:
    if "masks" in point:
        return TruePoint(time=float(point["t"]), x=point["x"], y=point["y"], masks=point["masks"])
    if "box" not in point:
        raise DataError(
            what=f"{question.id} has a point without the region that an answer must hit",
            why="pointing is scored by it",
            fix="import the data set with masks or boxes, or leave the task out",
        )
    x0, y0, x1, y1 = point["box"]
    return TruePoint(time=float(point["t"]), x=point["x"], y=point["y"], box=(x0, y0, x1, y1))

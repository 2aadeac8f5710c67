"""Accuracy of counting and multiple choice and F1 of pointing, on validation rows.

Source: molmo2 spec section 14. Each score says how many examples it is over; none is a DataError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trackyard.errors import DataError
from trackyard.evaluate.multiple_choice import chosen_option
from trackyard.evaluate.pointing import TruePoint, score_points
from trackyard.feed.frames import clip_bounds
from trackyard.feed.points import count_of_answer, parse_points
from trackyard.feed.styles import Kind, style_of
from trackyard.row import Row

Metric = Literal["counting", "multiple_choice", "pointing"]
METRICS: tuple[Metric, ...] = ("counting", "multiple_choice", "pointing")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One conversation to be answered."""

    dataset: str
    row: Row
    branch: int


@dataclass(frozen=True, kw_only=True)
class Score:
    """value: mean in [0, 1] over `examples`; chance: expected without looking; unparsed: answers no rule could read."""

    value: float
    chance: float
    examples: int
    unparsed: int


def questions(dataset: str, rows: Iterable[Row], limit: int) -> list[Question]:
    """The first `limit` conversations of `rows`, in order."""
    found: list[Question] = []
    for row in rows:
        for branch in range(len(row.conversations)):
            if len(found) == limit:
                return found
            found.append(Question(dataset=dataset, row=row, branch=branch))
    return found


def _meta(question: Question, key: str) -> Any:
    try:
        return question.row.meta[key][question.branch]
    except (KeyError, IndexError) as error:
        raise DataError(
            what=f"row {question.row.id!r} of {question.dataset} has no meta.{key} for conversation {question.branch}",
            why="it is scored by that ground truth",
            fix=f"leave {question.dataset} out of molmo2.validation in params.yaml, or import it with its ground truth",
        ) from error


def true_count(question: Question) -> int:
    """The count that is right: the stated answer, else the number of points."""
    stated = question.row.conversations[question.branch][-1].content
    count = count_of_answer(stated) if stated else len(_meta(question, "points"))
    if count is None:
        raise DataError(
            what=f"row {question.row.id!r} of {question.dataset}: no count in {stated!r}",
            why="counting is scored against it",
            fix=f"leave {question.dataset} out of molmo2.validation in params.yaml",
        )
    return count


def _clip(question: Question) -> tuple[float, float]:
    """Start and end in seconds of the clip that is shown; (0, 0) for images."""
    row = question.row
    if not row.media or row.media[0].kind == "image":
        return 0.0, 0.0
    clip = row.meta.get("clip")
    start, end = clip_bounds(row.media[0], None if clip is None else (float(clip[0]), float(clip[1])))
    return float(start), float(end)


def _true_points(question: Question) -> list[TruePoint]:
    """What a right answer points at: times from the start of the clip, and of a track only what is visible."""
    start, _ = _clip(question)
    hidden = style_of(question.row.task).kind is Kind.TRACKS
    return [
        TruePoint(time=float(point["t"]) - start, x=point["x"], y=point["y"], box=_box(point, question))
        for point in _meta(question, "points")
        if not (hidden and point.get("occluded", False))
    ]


def _box(point: Mapping[str, Any], question: Question) -> tuple[float, float, float, float]:
    if "box" not in point:
        raise DataError(
            what=f"row {question.row.id!r} of {question.dataset} has a point without the box that an answer must hit",
            why="pointing is scored by it",
            fix=f"leave {question.dataset} out of molmo2.validation in params.yaml, or import it with masks or boxes",
        )
    x0, y0, x1, y1 = point["box"]
    return x0, y0, x1, y1


def _right_option(question: Question) -> int:
    """Index of the right option, within the options there are."""
    right, options = int(_meta(question, "answer_index")), _meta(question, "options")
    if not 0 <= right < len(options):
        raise DataError(
            what=f"row {question.row.id!r} of {question.dataset} has answer_index {right} and {len(options)} options",
            why="no answer to it could be right",
            fix=f"leave {question.dataset} out of molmo2.validation in params.yaml, or correct its import",
        )
    return right


def score_counting(items: Sequence[Question], answers: Sequence[str]) -> Score:
    """Share of exact counts. Chance: the most frequent true count, guessed always."""
    truths = [true_count(item) for item in items]
    read = [count_of_answer(answer) for answer in answers]
    return Score(
        value=_mean([float(guess == truth) for guess, truth in zip(read, truths, strict=True)]),
        chance=max(truths.count(value) for value in set(truths)) / len(truths),
        examples=len(truths),
        unparsed=read.count(None),
    )


def score_multiple_choice(items: Sequence[Question], answers: Sequence[str]) -> Score:
    """Share of right options. Chance: the most frequent right letter, guessed always, or 1/options if that is more."""
    truths = [_right_option(item) for item in items]
    options = [list(_meta(item, "options")) for item in items]
    read = [chosen_option(answer, choice) for answer, choice in zip(answers, options, strict=True)]
    uniform = _mean([1 / len(choice) for choice in options])
    return Score(
        value=_mean([float(guess == truth) for guess, truth in zip(read, truths, strict=True)]),
        chance=max(uniform, max(truths.count(value) for value in set(truths)) / len(truths)),
        examples=len(truths),
        unparsed=read.count(None),
    )


def score_pointing(items: Sequence[Question], answers: Sequence[str]) -> Score:
    """Mean F1. Chance: answers that are right for other questions, half the list away: likely in form and place."""
    truths = [_true_points(item) for item in items]
    read = [[(point.frame, point.x, point.y) for point in parse_points(answer)] for answer in answers]
    seconds = [end - start for start, end in map(_clip, items)]
    half = len(truths) // 2
    blind = [[(point.time, point.x, point.y) for point in truth] for truth in (*truths[half:], *truths[:half])]
    return Score(
        value=_mean_f1(read, truths, seconds),
        chance=_mean_f1(blind, truths, seconds),
        examples=len(truths),
        unparsed=sum(1 for guess, truth in zip(read, truths, strict=True) if truth and not guess),
    )


def _mean_f1(
    guesses: Sequence[Sequence[tuple[float, float, float]]],
    truths: Sequence[Sequence[TruePoint]],
    seconds: Sequence[float],
) -> float:
    scored = zip(guesses, truths, seconds, strict=True)
    return _mean([score_points(guess, truth, duration=duration).f1 for guess, truth, duration in scored])


SCORERS: dict[Metric, Callable[[Sequence[Question], Sequence[str]], Score]] = {
    "counting": score_counting,
    "multiple_choice": score_multiple_choice,
    "pointing": score_pointing,
}


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise DataError(
            what="a score over 0 examples",
            why="nothing was examined, so nothing is known",
            fix="name validation datasets that have a validation split under molmo2.validation in params.yaml",
        )
    return sum(values) / len(values)

"""What is said in each conversation of a row: given text where there is some, else a template, points or options.

Source: molmo2 spec sections 7 (tags, templates, multiple choice, length-conditioned captions) and 11 (points).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from string import ascii_uppercase
from typing import Any

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.feed.points import (
    Point,
    PointFormat,
    PointText,
    first_and_last,
    first_object,
    format_count,
    format_points,
    format_tracks,
    read_points,
)
from trackyard.feed.styles import Kind, Style, style_of
from trackyard.feed.templates import CHOICE_TEMPLATES, templates_of
from trackyard.row import IMAGE_MARK, VIDEO_MARK, Row, Turn

LENGTH_SHARE = 0.9
LENGTH_NOISE = 25.0
"""Standard deviation, in characters, of the noise on a caption's stated length."""
LENGTH_UNIT = 15
INFERENCE_LENGTH = 65
LENGTH_STYLES = ("long_caption", "transcript")

EMPTY_ANSWER = "no label token: the answer is empty"
EMPTY_QUESTION = "no question, and the style has no template for one"
NO_RATE = "no question, and no meta.sampling_fps to ask with"
NO_LABEL = "no question, and no meta.label to ask with"
NO_OBJECT = "no question, and no visible object to ask with"
TOO_MANY_OPTIONS = "more options than letters"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """What decides the text of a row besides the row. stage1: pointing is tagged, captions carry their length."""

    seed: int
    point_format: PointFormat
    stage1: bool = False
    evaluation: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """The part of the media that is shown. images: how many; start, end: seconds of the video, None for images."""

    images: int = 0
    start: float = 0.0
    end: float | None = None

    def place(self, points: Sequence[Point]) -> list[Point]:
        """The points on what is shown, their times counted from the start of the clip."""
        if self.end is None:
            return [point for point in points if 1 <= round(point.t) <= max(self.images, 1)]
        # Half a printed decimal of slack: the last frame's time is rounded like every other.
        shown = (point for point in points if self.start - 0.05 <= point.t <= self.end + 0.05)
        return [replace(point, t=point.t - self.start) for point in shown]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialogue:
    """One conversation in words: (user, assistant) per turn pair, the tag included; assistant text never empty.

    reason: why it cannot be used (turns empty then), None otherwise. clamped: points moved to the image's edge;
    hidden: points on media that are not shown.
    """

    turns: tuple[tuple[str, str], ...] = ()
    reason: str | None = None
    clamped: int = 0
    hidden: int = 0


def chance(seed: int, *place: str | int) -> float:
    """Uniform in (0, 1), a pure function of its arguments: the same in any worker, rank and restart."""
    return (int(digest_json([seed, *place])[:13], 16) + 0.5) / 16**13


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """What one conversation is about, read from the row once."""

    row: Row
    index: int
    style: Style
    points: list[Point] | None
    label: str
    timed: bool
    draw: float
    """Uniform number that picks the template."""
    form: PointFormat


def write_dialogue(
    row: Row, index: int, dataset: str, scope: Scope, wording: Wording, *, answered: bool = True
) -> Dialogue:
    """Conversation `index` of `row` in words. DataError where the row's meta does not fit its conversations.

    With `wording.evaluation` template 0 is used. Later turn pairs are always given text; the first may be left to us.
    answered: an empty answer is a reason to refuse; False for a prompt that a model will answer.
    """
    pairs = _pairs(row, index)
    points, hidden = _points(row, index, scope)
    subject = _Subject(
        row=row,
        index=index,
        style=style_of(row.task),
        points=points,
        label=str(_annotation(row, "label", index) or ""),
        timed=scope.end is not None,
        draw=0.0 if wording.evaluation else chance(wording.seed, "template", dataset, row.id, index),
        form=wording.point_format,
    )
    question = _without_marks(pairs[0][0].content, row)
    answer, clamped = pairs[0][1].content, 0
    if subject.style.kind is Kind.MULTIPLE_CHOICE and _annotation(row, "options", index):
        question, drawn_answer, reason = _choice(subject, question)
        answer = answer if answer.strip() else drawn_answer
    else:
        question, reason = (question, None) if question.strip() else _asked(subject)
    if reason:
        return Dialogue(reason=reason)
    if not answer.strip() and points is not None:
        written = _point_answer(subject, points)
        answer, clamped = written.text, written.clamped

    tag = _tag(subject.style, len(answer), (dataset, row.id, index), wording)
    turns = [(tag + question, answer)]
    turns += [(_without_marks(user.content, row), assistant.content) for user, assistant in pairs[1:]]
    if answered and any(not assistant.strip() for _, assistant in turns):
        return Dialogue(reason=EMPTY_ANSWER)
    return Dialogue(turns=tuple(turns), clamped=clamped, hidden=hidden)


def _choice(subject: _Subject, question: str) -> tuple[str, str, str | None]:
    """Question with its options listed, the right answer ("" where unknown), and a reason to refuse."""
    options = [str(option) for option in _annotation(subject.row, "options", subject.index)]
    if len(options) > len(ascii_uppercase):
        return "", "", TOO_MANY_OPTIONS
    if not question.strip():
        return "", "", EMPTY_QUESTION
    template, answer_form = CHOICE_TEMPLATES[int(subject.draw * len(CHOICE_TEMPLATES))]
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, options, strict=False))
    right = _annotation(subject.row, "answer_index", subject.index)
    if right is not None and not 0 <= int(right) < len(options):
        raise DataError(
            what=f"answer_index {right} of row {subject.row.id!r} with {len(options)} options",
            why="the right answer would be another one, or none",
            fix="correct the import of this dataset, then run it again",
        )
    answer = "" if right is None else answer_form.format(letter=ascii_uppercase[int(right)], option=options[int(right)])
    return template.format(question=question, options=listed), answer, None


def _asked(subject: _Subject) -> tuple[str, str | None]:
    """A question from the style's templates, and a reason to refuse where the row lacks what it names."""
    templates = templates_of(subject.style)
    if not templates:
        return "", EMPTY_QUESTION
    template = templates[int(subject.draw * len(templates))]
    rate = subject.row.meta.get("sampling_fps")
    track = subject.style.track
    given = first_object(subject.points)[:1] if subject.points and track and track.single else []
    for name, value, reason in (
        ("{fps}", rate, NO_RATE),
        ("{label}", subject.label, NO_LABEL),
        ("{input_points}", given, NO_OBJECT),
    ):
        if name in template and not value:
            return "", reason
    return template.format(
        label=subject.label,
        fps=f"{float(rate or 0):g}",
        input_points=format_points(given, subject.label, subject.form, timed=subject.timed).text,
    ), None


def _pairs(row: Row, index: int) -> list[tuple[Turn, Turn]]:
    """(user, assistant) pairs; an unanswered last question gets an empty answer."""
    turns = list(row.conversations[index])
    if len(turns) % 2:
        turns.append(Turn(role="assistant", content=""))
    roles = [turn.role for turn in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        raise DataError(
            what=f"conversation {index} of row {row.id!r} has the roles {roles}",
            why="a conversation alternates user and assistant and starts with user",
            fix="correct the import of this dataset, then run it again",
        )
    return list(zip(turns[::2], turns[1::2], strict=True))


def _annotation(row: Row, key: str, index: int) -> Any:
    """`meta[key]` of one conversation; None where the row has none."""
    values = row.meta.get(key)
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != len(row.conversations):
        raise DataError(
            what=f"meta.{key} of row {row.id!r} is no list of {len(row.conversations)} entries, one per conversation",
            why="an annotation would be attached to the wrong conversation",
            fix="correct the import of this dataset, then run it again",
        )
    return values[index]


def _points(row: Row, index: int, scope: Scope) -> tuple[list[Point] | None, int]:
    """The shown points of a conversation and how many are not shown; None where it is not annotated with points."""
    entries = _annotation(row, "points", index)
    if entries is None:
        return None, 0
    points = read_points(entries)
    shown = scope.place(points)
    return shown, len(points) - len(shown)


def _without_marks(text: str, row: Row) -> str:
    """User text without media marks: media come first whatever their place. Rows without media keep such text."""
    bare = text.replace(IMAGE_MARK, "").replace(VIDEO_MARK, "") if row.media else text
    return text if bare == text else bare.strip()


def _point_answer(subject: _Subject, points: list[Point]) -> PointText:
    """The gold answer of a pointing, counting or tracking style; empty for any other kind."""
    style, label, form, timed = subject.style, subject.label, subject.form, subject.timed
    if style.kind is Kind.TRACKS and style.track is not None:
        chosen = first_object(points) if style.track.single else points
        return format_tracks(first_and_last(chosen) if style.track.ends_only else chosen, label, form, timed=timed)
    if style.kind is not Kind.POINTS:
        return PointText("")
    if style.count is None:
        return format_points(points, label, form, timed=timed)
    return format_count(points, label, form, style.count, timed=timed)


def _tag(style: Style, characters: int, place: tuple[str, str, int], wording: Wording) -> str:
    """What precedes the first question: a style name, with the answer's rough length for captions of stage 1."""
    if wording.stage1 and style.name in LENGTH_STYLES:
        if wording.evaluation:
            return f"{style.name} {INFERENCE_LENGTH}: "
        if chance(wording.seed, "length share", *place) >= LENGTH_SHARE:
            return f"{style.name}: "
        noise = int(NormalDist(0.0, LENGTH_NOISE).inv_cdf(chance(wording.seed, "length noise", *place)))
        return f"{style.name} {max(math.floor((characters + noise) / LENGTH_UNIT), 0)}: "
    if style.tagged or (wording.stage1 and style.kind is Kind.POINTS):
        return f"{style.name}: "
    return ""

"""Scores of validation rows: gold is 1, silence is 0, nothing examined is an error, chance is stated rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from trackyard.acquire.mini.datasets import MINI
from trackyard.errors import DataError
from trackyard.evaluate.validation import (
    METRICS,
    SCORERS,
    Metric,
    Question,
    questions,
    score_counting,
    score_multiple_choice,
    score_pointing,
    true_count,
)
from trackyard.feed.points import PointFormat
from trackyard.feed.prompts import Scope, Wording, write_dialogue
from trackyard.row import Media, Row, Turn

DATASETS: dict[Metric, tuple[str, ...]] = {
    "counting": ("pixmo-count", "tallyqa"),
    "multiple_choice": ("a-okvqa", "next-qa"),
    "pointing": ("pixmo-points", "molmo2-multiimagepoint", "cosyn-point"),
}


def asked(metric: Metric, rows: int = 8) -> list[Question]:
    items = []
    for name in DATASETS[metric]:
        items += questions(name, [MINI[name].row("validation", k) for k in range(rows)], limit=100)
    return items


def gold(items: Sequence[Question], form: PointFormat = PointFormat.HTML_V2) -> list[str]:
    """The answers that training would teach."""
    wording = Wording(seed=0, point_format=form, stage1=form is PointFormat.HTML_V1, evaluation=True)
    answers = []
    for item in items:
        videos = [medium for medium in item.row.media if medium.kind == "video"]
        scope = Scope(end=videos[0].duration) if videos else Scope(images=len(item.row.media))
        answers.append(write_dialogue(item.row, item.branch, item.dataset, scope, wording).turns[-1][1])
    return answers


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("form", PointFormat)
def test_gold_answers_score_one(metric: Metric, form: PointFormat) -> None:
    items = asked(metric)
    score = SCORERS[metric](items, gold(items, form))
    assert score.value == 1
    assert (score.examples, score.unparsed) == (len(items), 0)
    assert 0 < score.chance < 1


@pytest.mark.parametrize("metric", METRICS)
def test_empty_answers_score_zero(metric: Metric) -> None:
    items = asked(metric)
    if metric == "pointing":
        # Saying nothing is right where there is nothing.
        items = [item for item in items if item.row.meta["points"][item.branch]]
    score = SCORERS[metric](items, [""] * len(items))
    assert (score.value, score.unparsed, score.examples) == (0, len(items), len(items))


@pytest.mark.parametrize("metric", METRICS)
def test_zero_examples_are_an_error(metric: Metric) -> None:
    with pytest.raises(DataError, match="a score over 0 examples"):
        SCORERS[metric]([], [])


@pytest.mark.parametrize("metric", METRICS)
def test_another_number_of_answers_is_a_mistake(metric: Metric) -> None:
    with pytest.raises(ValueError):
        SCORERS[metric](asked(metric, rows=2), ["1"])


def test_gold_of_clips_scores_one() -> None:
    items = questions("molmo2-videotrack", [MINI["molmo2-videotrack"].row("validation", k) for k in range(8)], 8)
    assert score_pointing(items, gold(items)).value == 1, "points behind the post are not asked for"


# Hand-made rows ------------------------------------------------------------------------------------------------------


def row(
    meta: dict[str, Any], answers: Sequence[str] = ("",), task: str = "pointing", media: tuple[Media, ...] = ()
) -> Row:
    talks = tuple((Turn(role="user", content="?"), Turn(role="assistant", content=answer)) for answer in answers)
    return Row(id="r", task=task, media=media, conversations=talks, meta=meta)


def one(of: Row, branch: int = 0) -> Question:
    return Question(dataset="set", row=of, branch=branch)


def point(x: float, y: float, t: float = 1, **more: Any) -> dict[str, Any]:
    return {"media": 0, "t": t, "id": 1, "x": x, "y": y, "box": [x - 0.1, y - 0.1, x + 0.1, y + 0.1]} | more


def test_questions_are_the_first_conversations_in_order() -> None:
    rows = [row({}, ["a", "b"]), row({}, ["c", "d"])]
    found = questions("set", rows, limit=3)
    assert [(item.row is rows[0], item.branch) for item in found] == [(True, 0), (True, 1), (False, 0)]
    assert questions("set", rows, limit=0) == []
    assert len(questions("set", rows, limit=9)) == 4


def test_a_count_is_the_stated_one_or_the_number_of_points() -> None:
    assert true_count(one(row({}, ["There are 12."]))) == 12
    assert true_count(one(row({"points": [[point(0.1, 0.1)] * 3]}))) == 3
    assert true_count(one(row({"points": [[]]}))) == 0
    with pytest.raises(DataError, match="no count in 'many'"):
        true_count(one(row({}, ["many"])))


def test_counting() -> None:
    items = [one(row({}, [str(count)])) for count in (2, 2, 2, 3, 0)]
    score = score_counting(items, ["2", "There are 2 birds.", "3", "three", "There are none."])
    assert (score.value, score.chance, score.unparsed, score.examples) == (0.6, 0.6, 1, 5)


@pytest.mark.parametrize(
    ("rights", "options", "chance"),
    [([0, 1, 2, 3], 4, 0.25), ([1, 1, 1, 2], 4, 0.75), ([0, 1], 2, 0.5), ([0] * 3, 3, 1)],
)
def test_chance_of_multiple_choice(rights: list[int], options: int, chance: float) -> None:
    """The most frequent letter, guessed always."""
    items = [
        one(row({"options": [[f"thing {k}" for k in range(options)]], "answer_index": [right]})) for right in rights
    ]
    assert score_multiple_choice(items, ["A"] * len(rights)).chance == pytest.approx(chance)


def test_multiple_choice_of_unequal_lists_is_at_least_uniform() -> None:
    items = [one(row({"options": [["p", "q"]], "answer_index": [k % 2]})) for k in range(2)]
    items += [one(row({"options": [list("wxyz")], "answer_index": [k]})) for k in (2, 3)]
    score = score_multiple_choice(items, ["A", "A", "C", "nothing"])
    assert score.chance == pytest.approx((1 / 2 + 1 / 2 + 1 / 4 + 1 / 4) / 4)
    assert (score.value, score.unparsed) == (0.5, 1)


@pytest.mark.parametrize(("options", "right"), [(["p", "q"], 2), (["p", "q"], -1), ([], 0)])
def test_an_impossible_right_answer_is_an_error(options: list[str], right: int) -> None:
    with pytest.raises(DataError, match=f"answer_index {right} and {len(options)} options"):
        score_multiple_choice([one(row({"options": [options], "answer_index": [right]}))], ["A"])


def test_pointing_by_hand() -> None:
    items = [
        one(row({"points": [[point(0.2, 0.2), point(0.8, 0.8)]]})),
        one(row({"points": [[]]})),
        one(row({"points": [[point(0.5, 0.5)]]})),
    ]
    answers = ['<points coords="1 1 200 250 2 500 100">x</points>', "There are none.", "over there"]
    score = score_pointing(items, answers)
    assert score.value == pytest.approx((0.5 + 1 + 0) / 3)
    assert score.unparsed == 1


def test_chance_of_pointing_is_the_answer_to_another_question() -> None:
    near, far = [point(0.5, 0.5)], [point(0.1, 0.9)]
    items = [one(row({"points": [points]})) for points in (near, near, far, near)]
    # Answers are exchanged between the first half and the second: near with far, and near with near.
    assert score_pointing(items, [""] * 4).chance == pytest.approx(2 / 4)


VIDEO = Media(kind="video", data=b"", path="v.mp4", width=10, height=10, frames=40, fps=4, duration=10)


def test_times_of_a_clip_count_from_its_start() -> None:
    meta = {"points": [[point(0.5, 0.5, t=6.5)]], "clip": [6.0, 9.0]}
    clipped = row(meta, task="video_point", media=(VIDEO,))
    assert score_pointing([one(clipped)], ['<points coords="0.5 1 500 500">x</points>']).value == 1
    assert score_pointing([one(clipped)], ['<points coords="6.5 1 500 500">x</points>']).value == 0


def test_what_cannot_be_seen_is_left_out_of_tracks_only() -> None:
    hidden = {"points": [[point(0.2, 0.2, t=0), point(0.7, 0.7, t=1, occluded=True)]]}
    track = row(hidden, task="video_point_track_per_frame", media=(VIDEO,))
    assert score_pointing([one(track)], ['<tracks coords="0.0 1 200 200">x</tracks>']).value == 1
    pointed = row(hidden, task="video_point", media=(VIDEO,))
    assert score_pointing([one(pointed)], ['<points coords="0.0 1 200 200;1.0 2 700 700">x</points>']).value == 1


@pytest.mark.parametrize(
    ("score", "meta", "message"),
    [
        (score_pointing, {}, "has no meta.points for conversation 0"),
        (score_pointing, {"points": [[{"t": 1, "x": 0.5, "y": 0.5}]]}, "a point without the box"),
        (score_multiple_choice, {"options": [["p"]]}, "has no meta.answer_index for conversation 0"),
        (score_multiple_choice, {"answer_index": [0], "options": []}, "has no meta.options for conversation 0"),
        (score_counting, {}, "has no meta.points for conversation 0"),
    ],
)
def test_rows_without_ground_truth_are_named(score: Any, meta: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        score([one(row(meta))], ["1"])
    assert "row 'r' of set" in caught.value.what
    assert "leave set out of molmo2.validation" in caught.value.fix


def test_the_second_branch_has_its_own_truth() -> None:
    two = row({"points": [[point(0.2, 0.2)], [point(0.8, 0.8)]]}, ["", ""])
    answer = '<points coords="1 1 800 800">x</points>'
    assert score_pointing([one(two, 0), one(two, 1)], [answer, answer]).value == 0.5
    assert replace(one(two), branch=1).branch == 1

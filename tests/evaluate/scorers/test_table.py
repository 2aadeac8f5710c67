"""Every metric by its name: gold 1, empty 0, wrong 0, shuffled at chance; what a question lacks is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.scorers.table import (
    METRICS,
    NOT_MEASURED,
    chance,
    metric_named,
    require_truth,
    score_answer,
)
from trackyard.evaluate.tasks.question import Question
from trackyard.feed.points import Point, PointFormat, format_points

WORDS = ("red", "blue", "green", "black", "white", "purple", "orange", "yellow")
BOX = {"t": 1.0, "id": "1", "x": 0.2, "y": 0.2, "box": (0.1, 0.1, 0.3, 0.3)}


def words(number: int) -> Question:
    return Question(id=f"q{number}", question="?", references=(WORDS[number % 8],) * 10)


def count(number: int) -> Question:
    return Question(id=f"q{number}", question="?", references=(str(number % 8),))


def choice(number: int) -> Question:
    return Question(id=f"q{number}", question="?", options=("red", "blue", "green", "black"), answer_index=number % 4)


def letter(question: Question) -> str:
    assert question.answer_index is not None
    return "ABCD"[question.answer_index]


def reference(question: Question) -> str:
    return question.references[0]


ASKED: dict[str, tuple[Callable[[int], Question], Callable[[Question], str], str]] = {
    "vqa": (words, reference, "a zebra"),
    "vqa_simple": (words, reference, "a zebra"),
    "anls": (words, reference, "something quite else"),
    "em": (words, reference, "a zebra"),
    "em_number": (count, reference, "99"),
    "mc": (choice, letter, "none of these"),
    "mmmu": (choice, letter, "none of these"),
    "counting_exact": (count, reference, "99"),
    "counting_close": (count, reference, "99"),
}
"""Questions, the right answer to one, and one that is wrong for all of them."""


@pytest.mark.parametrize("metric", ASKED)
@given(number=st.integers(0, 40))
@settings(max_examples=20)
def test_gold_is_1_empty_and_wrong_are_0(metric: str, number: int) -> None:
    make, right, wrong = ASKED[metric]
    question = make(number)
    for answer, value in ((right(question), 1.0), ("", 0.0), ("  \n", 0.0), (wrong, 0.0)):
        found = score_answer([metric], question, answer)
        assert found.score == {metric: value}, (answer, found)
        assert answer.strip() or found.parsed is None


@pytest.mark.parametrize("metric", ASKED)
def test_answers_to_other_questions_are_near_chance(metric: str) -> None:
    """Each question gets the right answer to another one, whose answer is the same for one in eight, or in four."""
    make, right, _ = ASKED[metric]
    questions = [make(number) for number in range(400)]
    order = np.random.default_rng(0).permutation(len(questions))
    values = [
        score_answer([metric], question, right(questions[at])).score[metric]
        for question, at in zip(questions, order, strict=True)
    ]
    expected = 0.25 if make is choice else 0.125
    # Being one off counts as close, and words share letters.
    slack = {"counting_close": 0.35, "anls": 0.15}.get(metric, 0.06)
    assert expected - 0.06 <= np.mean(values) <= expected + slack


def test_what_is_generated_is_extracted_first_but_for_captions() -> None:
    told = "I see a car.\nAnswer: red"
    assert score_answer(["em"], words(0), told).score == {"em": 1.0}
    assert score_answer(["em"], words(0), "red <nobody>").score == {"em": 0.0}
    assert score_answer(["cider"], words(0), told).parsed == told


def test_worked_values() -> None:
    three = Question(id="q", question="?", references=("3",))
    found = score_answer(["em", "em_number"], three, "Three")
    assert (found.parsed, found.score) == ("Three", {"em": 0.0, "em_number": 1.0})
    half = Question(id="q", question="?", references=("cat",) * 2 + ("dog",) * 8)
    assert score_answer(["vqa", "vqa_simple"], half, "cat").score["vqa"] == pytest.approx(0.6)
    assert score_answer(["vqa_simple"], half, "cat").score["vqa_simple"] == pytest.approx(2 / 3)
    assert score_answer(["vqa"], half, "A").parsed is None
    assert score_answer(["anls"], Question(id="q", question="?", references=("abc",)), "abd").score[
        "anls"
    ] == pytest.approx(2 / 3)
    assert score_answer(["mmmu", "mmmu_expected"], choice(0), "no idea").score == {"mmmu": 0.0, "mmmu_expected": 0.25}
    assert score_answer(["mc"], choice(1), "(B)").parsed == "B"


def test_open_questions_of_mmmu_have_references_and_no_options() -> None:
    question = Question(id="q", question="?", references=("0.25",))
    assert score_answer(["mmmu"], question, "Answer: 0.25").score == {"mmmu": 1.0}
    assert score_answer(["mmmu"], question, "").parsed is None


def test_points_and_tracks() -> None:
    question = Question(id="q", question="?", truth={"points": [BOX], "duration": 0.0})
    inside, outside = (
        format_points([Point(t=1.0, x=at, y=at)], "it", PointFormat.HTML_V2, timed=False).text for at in (0.2, 0.8)
    )
    names = ["points_f1", "points_precision", "points_recall", "track_f1", "hota"]
    for answer, value in ((inside, 1.0), (outside, 0.0), ("", 0.0)):
        assert set(score_answer(names, question, answer).score.values()) == {value}, answer


@pytest.mark.parametrize("metric", ["cider", "cider_py"])
def test_a_metric_over_a_corpus_is_no_score_of_one_answer(metric: str) -> None:
    found = score_answer([metric, "em"], words(0), " red \n")
    assert (found.parsed, found.score) == ("red", {"em": 1.0})


def test_cider_over_a_corpus_has_the_published_values() -> None:
    """Two images, each equal to its only reference of four words and more: 10; without a 4-gram 7.5."""
    corpus = metric_named("cider_py").corpus
    assert corpus is not None
    captions = ["a cat sits on a mat", "a dog runs fast"]
    assert corpus(captions, [[caption] for caption in captions]).tolist() == pytest.approx([10, 10])
    short = ["a cat sits on a mat", "a dog runs"]
    assert corpus(short, [[caption] for caption in short]).tolist() == pytest.approx([10, 7.5])
    assert corpus(["a zebra", "an owl"], [[caption] for caption in captions]).tolist() == pytest.approx(
        [0, 0], abs=1e-6
    )


def test_every_metric_is_either_of_one_answer_or_of_a_corpus() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert (metric.value is None) is not (metric.corpus is None)
        assert not (metric.binary and metric.corpus)
    of_points = {"points_precision", "points_recall", "points_f1", "track_f1", "hota"}
    assert set(METRICS) == {*ASKED, *of_points, "mmmu_expected", "cider", "cider_py"}


@given(st.sampled_from([name for name, metric in METRICS.items() if metric.binary]), st.text(max_size=12))
def test_binary_metrics_are_0_or_1(metric: str, answer: str) -> None:
    assert score_answer([metric], ASKED[metric][0](3), answer).score[metric] in (0.0, 1.0)


@pytest.mark.parametrize("metric", sorted(NOT_MEASURED))
def test_what_cannot_be_had_offline_is_said_and_never_a_number(metric: str) -> None:
    assert metric not in METRICS
    with pytest.raises(ConfigError) as refused:
        metric_named(metric)
    assert refused.value.why == NOT_MEASURED[metric]


def test_an_unknown_metric_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no metric 'bleu'") as refused:
        score_answer(["em", "bleu"], words(0), "red")
    assert "cider" in refused.value.why


@pytest.mark.parametrize(
    ("metric", "changed", "absent"),
    [
        ("em", {}, "references"),
        ("cider", {}, "references"),
        ("mc", {"options": ("a", "b")}, "answer_index"),
        ("mc", {"answer_index": 0}, "options"),
    ],
)
def test_a_question_that_nothing_could_be_right_for_is_refused(
    metric: str, changed: dict[str, Any], absent: str
) -> None:
    question = Question(id="made:validation:7", question="?", **changed)
    for check in (
        lambda: require_truth([metric_named(metric)], question),
        lambda: score_answer([metric], question, "red"),
    ):
        with pytest.raises(DataError, match=f"made:validation:7 has no {absent}"):
            check()


def test_a_reference_that_states_no_count_is_refused() -> None:
    with pytest.raises(DataError, match="no count in 'a few dogs'"):
        score_answer(["counting_exact"], Question(id="q", question="?", references=("a few dogs",)), "3")


def test_chance_is_of_options() -> None:
    two = Question(id="q", question="?", options=("a", "b"), answer_index=0)
    assert chance("mc", [choice(0), two]) == pytest.approx((0.25 + 0.5) / 2)
    assert chance("mmmu", [choice(0)]) == 0.25
    assert chance("mc", []) is None
    assert chance("em", [choice(0)]) is None
    assert chance("mmmu", [choice(0), words(0)]) is None

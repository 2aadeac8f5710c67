"""The rules that every task obeys: gold answers are right, wrong and empty ones are not, and answers that belong to
other questions are worth what chance gives.

The nine are asked from the staged miniature, every other task from rows of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import pytest

from tests.recipes.nine.layouts.miniature import ROOT, Staged
from trackyard.acquire.mini.datasets import MINI
from trackyard.errors import ConfigError
from trackyard.evaluate.scorers.table import METRICS, NOT_MEASURED, chance, score_answer
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.registry import STAGED, load_tasks
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.points import PointFormat, format_points, format_tracks, read_points
from trackyard.recipes.nine.layouts.opening import open_questions
from trackyard.snapshot.writer import write_dataset

TASKS = load_tasks(ROOT / "tasks")
ROWS = 8
STOOD_FOR = {
    # metric, media: miniature data set of the same kind
    ("mc", "image"): "a-okvqa",
    ("mc", "video"): "next-qa",
    ("counting_exact", "image"): "pixmo-count",
    ("counting_exact", "video"): "pixmo-count",
    ("points_f1", "image"): "pixmo-points",
    ("points_f1", "video"): "molmo2-videopoint",
    ("hota", "video"): "molmo2-videotrack",
}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("snapshot")
    for name in set(STOOD_FOR.values()):
        rows = [MINI[name].row("validation", index) for index in range(ROWS)]
        write_dataset(root / name, {"validation": rows}, dataset=name, source={"by": "test"}, licence="own")
    return root


def _questions(task: Task, staged: Staged, snapshot: Path) -> list[Question]:
    if task.layout in STAGED:
        opened = open_questions(staged.tasks[task.name], staged.folder)
    else:
        kind = (task.metric, "video" if "video" in task.groups else "image")
        opened = open_questions(task.model_copy(update={"entry": STOOD_FOR[kind], "samples": None}), snapshot)
    return [opened[number] for number in range(len(opened))]


def gold(task: Task, question: Question) -> str:
    """An answer that no one could object to."""
    if question.answer_index is not None:
        return ascii_uppercase[question.answer_index]
    if task.metric in ("points_f1", "hota"):
        label, timed = question.truth.get("label", ""), question.truth["duration"] > 0
        points = read_points(question.truth["points"])
        write: Callable[..., Any] = format_tracks if task.metric == "hota" else format_points
        return str(write(points, label, PointFormat.HTML_V2, timed=timed).text)
    return question.references[0]


def wrong(task: Task, question: Question) -> str:
    """An answer of the right form that is not the right one."""
    if question.answer_index is not None:
        return ascii_uppercase[(question.answer_index + 1) % len(question.options)]
    if task.metric in ("points_f1", "hota"):
        # Four corners of the picture: nothing that is drawn lies in one.
        return '<points coords="1 1 000 000 2 999 999;0.0 1 000 999 2 999 000">corners</points>'
    if task.metric in ("em", "counting_exact"):
        return "97"
    return "0123 xyzzy qqqqqqqqqqqqqqqq"


def _mean(task: Task, questions: Sequence[Question], answers: Sequence[str]) -> Mapping[str, float]:
    scored = [score_answer(task.metrics, q, a).score for q, a in zip(questions, answers, strict=True)]
    return {name: float(np.mean([one[name] for one in scored])) for name in scored[0]}


MEASURED = [
    task
    for task in TASKS.values()
    if task.layout in STAGED | {"rows"} and task.metric in METRICS and METRICS[task.metric].corpus is None
]


def test_every_task_is_under_one_of_the_rules_of_this_module() -> None:
    rest = {task.name for task in TASKS.values() if task.layout != "harness"} - {task.name for task in MEASURED}
    assert rest == {"coco_caption", "mmmu_files", "molmo2-capeval"}  # below; test_mmmu_files.py; not measured


@pytest.mark.parametrize("task", MEASURED, ids=lambda task: task.name)
def test_gold_is_right_and_wrong_and_empty_are_not(task: Task, staged: Staged, snapshot: Path) -> None:
    measured = task.model_copy(update={"secondary": tuple(m for m in task.secondary if m in METRICS)})
    questions = _questions(measured, staged, snapshot)
    right = _mean(measured, questions, [gold(task, question) for question in questions])
    assert right == dict.fromkeys(measured.metrics, 1.0)
    # Where nothing is to be pointed at, an empty answer is right.
    asked = [question for question in questions if question.truth.get("points", [None])]
    for answers in ([wrong(task, question) for question in asked], ["" for _ in asked]):
        assert _mean(measured, asked, answers) == dict.fromkeys(measured.metrics, 0.0)


@pytest.mark.parametrize("task", MEASURED, ids=lambda task: task.name)
def test_answers_of_other_questions_are_worth_chance(task: Task, staged: Staged, snapshot: Path) -> None:
    measured = task.model_copy(update={"secondary": ()})
    questions = _questions(measured, staged, snapshot)
    answers = [gold(task, question) for question in questions]
    orders = [np.random.default_rng(seed).permutation(len(answers)) for seed in range(30)]
    drawn = [_mean(measured, questions, [answers[k] for k in order])[task.metric] for order in orders]
    guessed = chance(task.metric, questions)
    if guessed is not None:
        assert abs(float(np.mean(drawn)) - guessed) < 0.1
    # Answers of a miniature repeat: colours, words, small counts. Half of them right would be no accident.
    assert float(np.mean(drawn)) < 0.5


def test_captions_are_scored_over_the_corpus(staged: Staged) -> None:
    task = staged.tasks["coco_caption"]
    questions = _questions(task, staged, staged.folder)
    metric = METRICS[task.metric]
    assert metric.corpus is not None
    gold_captions = [question.references[0] for question in questions]
    own = [(text,) for text in gold_captions]
    nothing, other = [""] * len(own), ["zz qq vv ww"] * len(own)
    turned = [*gold_captions[1:], gold_captions[0]]
    # One corpus after the other: a value means nothing outside of its own.
    assert float(np.mean(metric.corpus(gold_captions, own))) / metric.scale == pytest.approx(1.0)
    assert float(np.mean(metric.corpus(nothing, own))) == 0.0
    assert float(np.mean(metric.corpus(other, own))) == 0.0
    assert float(np.mean(metric.corpus(turned, own))) / metric.scale < 0.5


@pytest.mark.parametrize("name", ["molmo2-capeval", "mevis-valid"])
def test_what_cannot_be_measured_is_said_and_never_given_a_number(name: str, staged: Staged, snapshot: Path) -> None:
    task = TASKS[name]
    unmeasured = [metric for metric in task.metrics if metric in NOT_MEASURED]
    assert unmeasured
    question = _questions(TASKS["mevis-valid"], staged, snapshot)[0]
    with pytest.raises(ConfigError, match="needs a"):
        score_answer(unmeasured, question, "anything")

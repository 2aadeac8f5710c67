"""Real questions as local files: all of them, with all their images in order; and files that are not what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest

from trackyard.errors import DataError
from trackyard.evaluate.scorers.table import score_answer
from trackyard.evaluate.tasks.registry import load_tasks
from trackyard.feed.decode import decode_rgb
from trackyard.recipes.nine.layouts.mmmu_files import QUESTIONS, image_names, open_files
from trackyard.recipes.nine.layouts.opening import open_questions

ROOT = Path(__file__).parents[4]
REAL = ROOT.parent / "shared/data/real/mmmu_pro"
TASK = load_tasks(ROOT / "tasks")["mmmu_files"]

real = pytest.mark.skipif(not REAL.is_dir(), reason="the real questions are not on this machine")


@real
def test_the_real_questions_with_all_their_images_in_order() -> None:
    lines = [json.loads(line) for line in (REAL / QUESTIONS).read_text().splitlines()]
    opened = open_questions(TASK, REAL)
    questions = [opened[number] for number in range(len(opened))]
    assert len(questions) == len(lines) == 21
    assert sorted(len(question.media) for question in questions) == [1] * 20 + [5]
    for question, line in zip(questions, lines, strict=True):
        assert (question.question, question.options) == (line["question"], tuple(line["options"]))
        assert question.answer_index == ascii_uppercase.index(line["answer"])
        stored = [line[f"image_{number}"] for number in range(1, len(question.media) + 1)]
        assert [medium.data for medium in question.media] == [(REAL / path).read_bytes() for path in stored]
        for medium in question.media:
            assert decode_rgb(medium.data, medium.path).shape[:2] == (medium.height, medium.width)
        gold = line["answer"]
        wrong = ascii_uppercase[(question.answer_index + 1) % len(question.options)]
        assert score_answer(TASK.metrics, question, gold).score["mmmu"] == 1.0
        assert score_answer(TASK.metrics, question, wrong).score["mmmu"] == 0.0
        assert score_answer(TASK.metrics, question, "").score["mmmu"] == 0.0
    assert len(set(opened.ids)) == 21


@real
def test_a_changed_image_changes_the_digest(tmp_path: Path) -> None:
    shutil.copytree(REAL, tmp_path / "real")
    folder = tmp_path / "real"
    before = open_files(TASK, folder).digest
    assert before == open_files(TASK, REAL).digest
    image = next(iter(sorted((folder / "images").iterdir())))
    image.write_bytes(image.read_bytes() + b"\0")
    assert open_files(TASK, folder).digest != before


def test_images_are_ordered_by_number() -> None:
    line = {f"image_{number}": "x" for number in (10, 2, 1)} | {"image_3": None, "image_credit": "y"}
    assert image_names(line) == ["image_1", "image_2", "image_10"]


LINE: dict[str, Any] = {"question": "?", "options": ["a", "b"], "answer": "A"}
CASES = [
    (LINE | {"options": "['a']"}, "options is \"\\['a'\\]\", not a list"),
    (LINE | {"options": [1]}, "options are \\[1\\]"),
    (LINE | {"answer": None}, "answer is None, not a str"),
    (LINE | {"image_1": "absent.png"}, "image_1 absent.png is not there"),
    (LINE | {"image_1": "../x.png"}, "image_1 is .*, not a path below the folder"),
    (LINE | {"image_1": "/etc/hostname"}, "image_1 is .*, not a path below the folder"),
    ([LINE], "it is no object"),
]


@pytest.mark.parametrize(("line", "told"), CASES)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: Any, told: str) -> None:
    (tmp_path / QUESTIONS).write_text(f"{json.dumps(LINE)}\n{json.dumps(line)}\n")
    with pytest.raises(DataError, match=f"{QUESTIONS}:2: {told}"):
        open_files(TASK, tmp_path)


def test_files_that_are_absent_or_name_a_question_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        open_files(TASK, tmp_path)
    (tmp_path / QUESTIONS).write_text(f"{json.dumps(LINE | {'id': 'x'})}\n" * 2)
    with pytest.raises(DataError, match="an id comes twice"):
        open_files(TASK, tmp_path)
    (tmp_path / QUESTIONS).write_text("{")
    with pytest.raises(DataError, match=f"{QUESTIONS}:1"):
        open_files(TASK, tmp_path)

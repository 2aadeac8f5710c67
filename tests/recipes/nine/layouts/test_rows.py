"""Rows of a snapshot as questions, and a new task that is nothing but a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.recipes.nine.layouts.miniature import ROOT
from trackyard.acquire.mini.datasets import MINI
from trackyard.catalog.entries import load_catalogue
from trackyard.errors import DataError
from trackyard.evaluate.scorers.table import score_answer
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.registry import load_tasks
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.layouts.opening import open_questions
from trackyard.recipes.nine.layouts.rows import question_of
from trackyard.row import IMAGE_MARK, Row, Turn
from trackyard.snapshot.writer import write_dataset

ROWS = 6


def _task(**values: Any) -> Task:
    return Task.model_validate(
        {"name": "t", "entry": "blink", "layout": "rows", "new_tokens": 8, "metric": "mc"} | values
    )


def _snapshot(root: Path, entry: str, rows: list[Row]) -> Path:
    write_dataset(root / entry, {"validation": rows}, dataset=entry, source={"by": "test"}, licence="own")
    return root


def _rows(name: str, count: int = ROWS) -> list[Row]:
    return [MINI[name].row("validation", index) for index in range(count)]


def test_a_question_for_each_conversation_in_order(tmp_path: Path) -> None:
    rows = _rows("vqa-v2")
    questions = open_questions(_task(style="vqa2", metric="vqa"), _snapshot(tmp_path, "blink", rows))
    made = [(row, branch) for row in rows for branch in range(len(row.conversations))]
    assert len(questions) == len(made) == 3 * ROWS
    for number, (row, branch) in enumerate(made):
        question = questions[number]
        said = row.conversations[branch]
        assert (question.question, question.references) == (said[0].content, (said[1].content,))
        assert question.media == row.media
        assert question.id == questions.ids[number] == f"blink:validation:{row.id}#{branch}"
        assert question.drawn_with == f"blink:{row.id}"
        assert questions.bare(number) == replace(question, media=())


def test_options_points_and_counts_are_what_answers_are_measured_against(tmp_path: Path) -> None:
    choice = question_of(_rows("a-okvqa")[1], 0, "q", "d")
    assert choice.options == ("blue", "green", "red", "yellow")
    assert (choice.answer_index, choice.references, choice.cluster) == (1, (), "")
    row = _rows("pixmo-points")[1]
    pointing = question_of(row, 0, "q", "d")
    assert pointing.question == f"Point to {row.meta['label'][0]}."
    assert pointing.truth["points"] == row.meta["points"][0]
    assert pointing.truth["duration"] == 0
    counting = question_of(_rows("pixmo-count")[2], 0, "q", "d")
    assert counting.references == ("3",)
    assert counting.question.startswith("Point to each of ")
    track = _rows("molmo2-videotrack")[0]
    tracked = question_of(track, 0, "q", "d")
    assert tracked.question == f"Track {track.meta['label'][0]} at 1 fps."
    assert all(not point["occluded"] for point in tracked.truth["points"])


def test_times_count_from_the_start_of_the_clip_and_what_is_outside_is_left_out() -> None:
    row = _rows("molmo2-videopoint")[0]
    points = row.meta["points"][0]
    assert len(points) == 1
    first, last = points[0]["t"] - 0.25, row.media[0].duration
    shown = question_of(replace(row, meta=row.meta | {"clip": [first, last]}), 0, "q", "d")
    assert [point["t"] for point in shown.truth["points"]] == pytest.approx([0.25])
    assert shown.truth["duration"] == pytest.approx(last - first)
    assert shown.truth["clip"] == [first, last]
    hidden = question_of(replace(row, meta=row.meta | {"clip": [points[0]["t"] + 0.25, last]}), 0, "q", "d")
    assert hidden.truth["points"] == []


def test_subtitles_are_shown_by_the_style_that_is_named_after_them_only() -> None:
    row = _rows("next-qa")[0]
    row = replace(row, meta=row.meta | {"subtitle": [[0.0, 1.0, "hello"]]})
    assert "subtitle" not in question_of(row, 0, "q", "d").truth
    told = question_of(replace(row, task="video_multiple_choice_w_subtitle"), 0, "q", "d")
    assert told.truth["subtitle"] == [[0.0, 1.0, "hello"]]


def test_the_folder_of_an_imported_row_is_its_subject_and_marks_are_no_text() -> None:
    row = replace(_rows("a-okvqa")[0], id="Art_Style/val-00000-of-00001-000007")
    row = replace(row, conversations=((Turn(role="user", content=f"{IMAGE_MARK} Which?"), row.conversations[0][1]),))
    question = question_of(row, 0, "q", "d")
    assert (question.groups, question.question) == ({"subject": "Art_Style"}, "Which?")


def test_what_cannot_be_asked_or_scored_is_refused_by_name(tmp_path: Path) -> None:
    row = _rows("a-okvqa")[0]
    with pytest.raises(DataError, match="q has 4 options, and number 4 is the right one"):
        question_of(replace(row, meta=row.meta | {"answer_index": [4]}), 0, "q", "d")
    said = row.conversations[0]
    with pytest.raises(DataError, match="q has 4 turns"):
        question_of(replace(row, conversations=((*said, *said),)), 0, "q", "d")
    silent = replace(row, task="user_qa", conversations=((replace(said[0], content=""), said[1]),), meta={})
    with pytest.raises(DataError, match="the style has no template"):
        question_of(silent, 0, "q", "d")
    snapshot = _snapshot(tmp_path, "blink", [row])
    with pytest.raises(DataError, match="no rows of the split 'test'"):
        open_questions(_task(split="test"), snapshot)
    with pytest.raises(DataError, match="dataset 'mmiu' is not in"):
        open_questions(_task(entry="mmiu"), snapshot)
    with pytest.raises(DataError, match=r"1 questions in .*, and 2 are stated"):
        open_questions(_task(samples=2), snapshot)


def test_a_new_task_is_a_file_alone_and_is_scored_end_to_end(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    written = {"name": "my-blink", "entry": "blink", "layout": "rows", "style": "multi_image_mc", "new_tokens": 8,
               "metric": "mc", "groups": ["mine"]}  # fmt: skip
    (folder / "mine.yaml").write_text(yaml.safe_dump({"tasks": [written]}))
    task = load_tasks(folder, load_catalogue(ROOT / "catalog"))["my-blink"]
    questions = open_questions(task, _snapshot(tmp_path / "data", "blink", _rows("a-okvqa", 8)))

    def stub(question: Question) -> str:
        """A model that always says B."""
        assert question.media
        return "Answer: B"

    asked = [questions[number] for number in range(len(questions))]
    scored = [score_answer(task.metrics, question, stub(question)) for question in asked]
    assert {one.parsed for one in scored} == {"B"}
    # Every letter is right equally often.
    assert np.mean([one.score["mc"] for one in scored]) == 0.25

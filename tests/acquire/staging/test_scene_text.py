"""The split of ST-VQA that is made: the spec's exact order, disjoint parts, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire.staging.scene_text import QuestionTable, read_questions, scene_text_split, shuffled
from trackyard.errors import DataError


def test_the_shuffle_has_the_values_of_the_spec() -> None:
    assert shuffled(range(10)) == [8, 0, 2, 4, 7, 3, 6, 1, 5, 9]
    order = shuffled(range(2000))
    assert order[:5] == [724, 338, 1592, 220, 870]
    assert sum(order[:1024]) == 1_014_468


def test_1024_rows_are_validation_and_the_rest_train() -> None:
    questions = [{"question_id": number} for number in range(2000)]
    validation, train = scene_text_split(questions)
    assert [question["question_id"] for question in validation[:5]] == [724, 338, 1592, 220, 870]
    assert (len(validation), len(train)) == (1024, 976)


@settings(deadline=None)
@given(st.sets(st.integers(0, 10_000), min_size=5, max_size=40), st.randoms())
def test_the_split_is_the_same_in_whatever_order_the_file_lists_them(ids: set[int], random: object) -> None:
    ordered = [{"question_id": number} for number in sorted(ids)]
    mixed = list(ordered)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    validation, train = scene_text_split(mixed, validation=5)
    assert (validation, train) == scene_text_split(ordered, validation=5)
    assert {question["question_id"] for question in validation} | {question["question_id"] for question in train} == ids
    assert not {question["question_id"] for question in validation} & {question["question_id"] for question in train}


def test_too_few_questions_are_refused() -> None:
    with pytest.raises(DataError, match="1023 training questions, and the validation split takes 1024"):
        scene_text_split([{"question_id": number} for number in range(1023)])


@pytest.mark.parametrize("text", ["", "[]", '{"data": [{"question": "x"}]}', '{"data": 3}', '{"data": [4]}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train_task_3.json"
    path.write_text(text)
    with pytest.raises(DataError, match="is not the question file of ST-VQA"):
        read_questions(path)


def test_rows_name_their_images_absolutely_and_keep_their_order(tmp_path: Path) -> None:
    questions = ({"question_id": 2, "file_path": "a/2.jpg"}, {"question_id": 1, "file_path": "b/1.jpg"})
    (tmp_path / "train_task_3.json").write_text(json.dumps({"data": questions}))
    table = QuestionTable(name="validation", questions=questions, folder=tmp_path)
    rows = [row for batch in table.batches() for row in batch.to_pylist()]
    assert [row["question_id"] for row in rows] == [2, 1]
    assert [row["file_path"] for row in rows] == [f"{tmp_path}/a/2.jpg", f"{tmp_path}/b/1.jpg"]
    assert table.schema.names == ["question_id", "file_path"]

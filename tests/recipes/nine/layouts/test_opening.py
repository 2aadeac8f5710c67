"""Questions of the nine layouts: as they were made, in order, with every image, under ids that name them anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recipes.nine.layouts.miniature import EVALUATED, Staged
from trackyard.acquire.staging.scene_text import scene_text_split
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.decode import decode_rgb
from trackyard.recipes.nine.fixture.samples import Asked, Sample, make_samples
from trackyard.recipes.nine.layouts.opening import open_questions

SEED = 3
NAMES = (
    "coco_2014_vqa", "text_vqa", "okvqa", "science_qa_img", "st_qa", "doc_qa", "tally_qa", "mmmu", "coco_caption",
)  # fmt: skip


def _questions(staged: Staged, name: str) -> list[Question]:
    opened = open_questions(staged.tasks[name], staged.folder)
    return [opened[number] for number in range(len(opened))]


def _made(staged: Staged, name: str) -> list[tuple[Sample, Asked]]:
    """What was drawn, in the order in which it must come back."""
    split = {"tally_qa": "test", "st_qa": "train"}.get(name, "validation")
    count = EVALUATED + 4 if name == "st_qa" else EVALUATED
    samples: Sequence[Sample] = make_samples(SEED, name, split, count)
    if name == "st_qa":
        numbered: list[Any] = [{"question_id": k} for k in range(count)]
        order, _ = scene_text_split(numbered, validation=EVALUATED)
        samples = [samples[question["question_id"]] for question in order]
    if name == "mmmu":
        samples = sorted(samples, key=lambda sample: sample.asked[0].kind)
    pairs = [(sample, asked) for sample in samples for asked in sample.asked]
    return pairs[:EVALUATED]


@pytest.mark.parametrize("name", NAMES)
def test_every_question_comes_back_as_it_was_made(staged: Staged, name: str) -> None:
    questions, made = _questions(staged, name), _made(staged, name)
    assert len(questions) == len(made) == EVALUATED
    for question, (sample, asked) in zip(questions, made, strict=True):
        assert question.references == asked.answers
        assert question.options == asked.options
        assert question.answer_index == asked.right
        assert len(question.media) == len(sample.media)
        for shown, drawn in zip(question.media, sample.media, strict=True):
            assert (shown.width, shown.height) == (drawn.width, drawn.height)
            assert np.array_equal(decode_rgb(shown.data, ""), decode_rgb(drawn.data, ""))
        if name == "coco_caption":
            assert question.question == "Describe this image in one sentence."
        elif asked.hint:
            assert question.question == f"{asked.hint}\n{asked.question}"
            assert question.question.count(asked.hint) == 1
        else:
            assert question.question == asked.question


def test_ids_name_data_set_split_and_question(staged: Staged) -> None:
    seen: set[str] = set()
    for name in NAMES:
        task = staged.tasks[name]
        ids = list(open_questions(task, staged.folder).ids)
        assert len(set(ids)) == len(ids) == task.samples
        assert all(one.startswith(f"{task.entry}:{task.split}:") for one in ids)
        assert [question.id for question in _questions(staged, name)] == ids
        assert not seen & set(ids)
        seen |= set(ids)


def test_questions_of_an_image_are_drawn_together(staged: Staged) -> None:
    for name in ("coco_2014_vqa", "tally_qa"):
        questions = _questions(staged, name)
        clusters = [question.drawn_with for question in questions]
        assert 1 < len(set(clusters)) < len(clusters)
        pictures: dict[str, bytes] = {}
        for question in questions:
            assert pictures.setdefault(question.drawn_with, question.media[0].data) == question.media[0].data
        assert len(set(pictures.values())) == len(pictures)
    alone = _questions(staged, "doc_qa")
    assert [question.drawn_with for question in alone] == [question.id for question in alone]


def test_breakdowns_are_those_of_the_tasks(staged: Staged) -> None:
    kinds = {"tally_qa": {"simple", "complex"}, "mmmu": {"Accounting", "Art", "Biology"}}
    for name, wanted in kinds.items():
        key = staged.tasks[name].breakdown
        assert key is not None
        assert {question.groups[key] for question in _questions(staged, name)} == wanted
    mmmu = _questions(staged, "mmmu")
    assert {len(question.media) for question in mmmu} == {1, 2}
    assert all((question.groups["kind"] == "open") == (not question.options) for question in mmmu)


def test_rows_without_an_image_are_no_questions_of_scienceqa(staged: Staged) -> None:
    ids = open_questions(staged.tasks["science_qa_img"], staged.folder).ids
    # Row numbers: after every second row there is one without a picture, whose number is passed over.
    assert [int(one.rsplit(":", 1)[1]) for one in ids][:6] == [0, 2, 3, 5, 6, 8]


def test_asking_in_any_order_gives_the_same_question(staged: Staged) -> None:
    opened = open_questions(staged.tasks["doc_qa"], staged.folder)
    forwards = [opened[number] for number in range(len(opened))]
    order = np.random.default_rng(0).permutation(len(opened)).tolist()
    assert [opened[number] for number in order] == [forwards[number] for number in order]
    with pytest.raises(IndexError):
        opened[len(opened)]


def test_neither_opening_nor_scoring_reads_an_image(staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {name: _questions(staged, name) for name in staged.tasks}

    def refuse(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("trackyard.recipes.nine.layouts.staged.SplitTable.pictures", refuse)
    opened = [open_questions(task, staged.folder) for task in staged.tasks.values()]
    assert sum(map(len, opened)) == EVALUATED * 10
    for questions, full in zip(opened, whole.values(), strict=True):
        assert [questions.bare(number) for number in range(len(questions))] == [replace(q, media=()) for q in full]
    with pytest.raises(AssertionError, match="an image was read"):
        opened[0][0]


def test_the_digest_is_of_the_bytes_and_of_how_they_are_read(staged: Staged) -> None:
    digests = {name: open_questions(task, staged.folder).digest for name, task in staged.tasks.items()}
    again = {name: open_questions(task, staged.folder).digest for name, task in staged.tasks.items()}
    assert digests == again
    assert digests["mmmu"] == digests["mmmu_long"]  # the same questions under two tasks
    assert len(set(digests.values())) == len(digests) - 1
    other = staged.tasks["coco_caption"].model_copy(update={"style": "long_caption"})
    assert open_questions(other, staged.folder).digest != digests["coco_caption"]


def _copy(staged: Staged, tmp_path: Path, entry: str) -> Path:
    shutil.copytree(staged.folder / entry, tmp_path / entry)
    return tmp_path


def test_what_is_not_whole_is_refused_by_name(staged: Staged, tmp_path: Path) -> None:
    task = staged.tasks["text_vqa"]
    with pytest.raises(DataError, match="holds no staged copy of text_vqa"):
        open_questions(task, tmp_path)
    folder = _copy(staged, tmp_path, "text_vqa")
    with pytest.raises(DataError, match="has no split 'test'; it has validation"):
        open_questions(task.model_copy(update={"split": "test"}), folder)
    with pytest.raises(DataError, match=r"12 questions in .*, and 13 are stated"):
        open_questions(task.model_copy(update={"samples": 13}), folder)
    shard = sorted((folder / "text_vqa").rglob("*.parquet"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"part-00001\.parquet absent or of another size"):
        open_questions(task, folder)
    shard.write_bytes(bytes(len(content)))
    with pytest.raises(DataError, match="cannot be read"):
        open_questions(task, folder)


def test_a_damaged_picture_is_noticed_when_it_is_asked_for(staged: Staged, tmp_path: Path) -> None:
    folder = _copy(staged, tmp_path, "doc_qa")
    task = staged.tasks["doc_qa"]
    before = open_questions(task, folder)
    data = before[0].media[0].data
    shard = sorted((folder / "doc_qa").rglob("*.parquet"))[0]
    content = bytearray(shard.read_bytes())
    content[content.index(data) + len(data) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match="cannot be read"):
        open_questions(task, folder)[0]


COLUMNS = [
    ("text_vqa", "doc_qa", "no column 'question_id' \\(text or integer\\)"),
    ("science_qa_img", "doc_qa", "no column 'choices' \\(list of text\\)"),
    ("coco_2014_vqa", "coco_caption", "no column 'messages'"),
    ("tally_qa", "coco_2014_vqa", "no column 'image/filename'"),
]


@pytest.mark.parametrize(("name", "other", "told"), COLUMNS)
def test_a_table_of_another_data_set_is_refused_by_its_column(
    staged: Staged, tmp_path: Path, name: str, other: str, told: str
) -> None:
    shutil.copytree(staged.folder / other, tmp_path / name)
    record = json.loads((tmp_path / name / "files.json").read_bytes())
    split = record["source"]["tables"][0]["name"]
    task = staged.tasks[name].model_copy(update={"split": split})
    with pytest.raises(DataError, match=told):
        open_questions(task, tmp_path)


def test_a_benchmark_of_the_harness_asks_by_itself(tmp_path: Path) -> None:
    task = Task(name="hellaswag", layout="harness", new_tokens=1, metric="acc_norm", entry="hellaswag")
    with pytest.raises(ConfigError, match="of layout 'harness'"):
        open_questions(task, tmp_path)

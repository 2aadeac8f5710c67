"""What is missing is asked, once; what cannot be shown is recorded as failed, and asked again where that is wanted."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.tiny_nine import TASKS, tiny_study
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.records import Sample
from trackyard.evaluate.store import Store
from trackyard.evaluate.tasks.question import Question
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.answering import Cell, answer_cells
from trackyard.recipes.nine.sweeping.opening import asked_tasks, open_evaluated, open_sweep

AGAIN = "trackyard run nine accuracy"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return tiny_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def subject(study: Study) -> Subject:
    return open_evaluated(study)


def cells_of(study: Study, *, change: Callable[[Question], Question] = lambda question: question) -> list[Cell]:
    """The two depths of the lower visual level on the first task; change: of one question, the first."""
    asked, sweep = asked_tasks(study)[TASKS[0]], open_sweep(study)
    first = asked.ids[0]
    asked.__dict__["questions"] = _Changed(asked.questions, first, change)
    levels = [(key, one) for key, one in sweep.configurations.items() if one.visual == 1]
    return [Cell(key=key, document=sweep.document(key), configuration=one, asked=asked) for key, one in levels]


class _Changed:
    def __init__(self, inner: Any, name: str, change: Callable[[Question], Question]) -> None:
        self._inner, self._name, self._change = inner, name, change
        self.ids, self.digest = inner.ids, inner.digest

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Question:
        found: Question = self._inner[number]
        return self._change(found) if found.id == self._name else found

    def bare(self, number: int) -> Question:
        found: Question = self._inner.bare(number)
        return found


def stores_of(cells: list[Cell], root: Path) -> list[tuple[Cell, Store[Sample]]]:
    return [(cell, cell.store(root, again=AGAIN)) for cell in cells]


def ask(subject: Subject, stores: list[tuple[Cell, Store[Sample]]], ids: list[str] | None = None, **how: Any) -> int:
    every = list(stores[0][0].asked.ids)
    settings: dict[str, Any] = {"batch": 4, "chunk": 4, "label": "t"}
    settings.update(how)
    return answer_cells(subject, stores, every if ids is None else ids, **settings)


def test_answers_are_scored_and_nothing_is_asked_twice(study: Study, subject: Subject, tmp_path: Path) -> None:
    stores = stores_of(cells_of(study), tmp_path)
    every = list(stores[0][0].asked.ids)
    assert ask(subject, stores, every[:2]) == 4
    assert ask(subject, stores) == 2 * (len(every) - 2)
    assert ask(subject, stores) == 0
    for cell, store in stores:
        found = store.found()
        assert set(found.records) == set(every)
        for record in found.records.values():
            assert (record.key, record.status, record.split) == (cell.key, "ok", "test")
            assert set(record.score) == {"em", "em_number"}
            assert 0 < record.n_visual < record.n_prompt
            assert 1 <= record.n_out <= cell.asked.task.new_tokens
            assert record.hit_cap <= (record.n_out == cell.asked.task.new_tokens)


def test_neither_order_nor_batch_nor_chunk_changes_an_answer(study: Study, subject: Subject, tmp_path: Path) -> None:
    found = []
    for number, how in enumerate(({"batch": 1}, {"batch": 8}, {"batch": 3, "chunk": 2})):
        stores = stores_of(cells_of(study), tmp_path / str(number))
        ids = list(stores[0][0].asked.ids)
        random.Random(number).shuffle(ids)
        ask(subject, stores, ids, **how)
        found.append([store.found().records for _, store in stores])
    assert found[0] == found[1] == found[2]


def test_what_one_configuration_lacks_is_asked_of_it_alone(study: Study, subject: Subject, tmp_path: Path) -> None:
    stores = stores_of(cells_of(study), tmp_path)
    first, both = stores[:1], stores
    assert ask(subject, first) == len(first[0][0].asked.ids)
    assert ask(subject, both) == len(first[0][0].asked.ids)


def not_an_image(question: Question) -> Question:
    """Its bytes are found damaged when the pixels are decoded."""
    return replace(question, media=tuple(replace(one, data=one.data[: len(one.data) // 3]) for one in question.media))


def no_question(question: Question) -> Question:
    """Found damaged when it is read."""
    from trackyard.acquire.media import UnreadableMedia

    raise UnreadableMedia(what=f"{question.id}.jpg is no image", why="it has no header", fix="stage it again")


@pytest.mark.parametrize("change", [not_an_image, no_question])
def test_a_picture_that_cannot_be_read_is_recorded_as_failed(
    study: Study, subject: Subject, tmp_path: Path, change: Callable[[Question], Question]
) -> None:
    stores = stores_of(cells_of(study, change=change), tmp_path)
    ids = stores[0][0].asked.ids
    assert ask(subject, stores) == 2 * len(ids)
    for _, store in stores:
        records = store.found().records
        failed = [record for record in records.values() if record.failed]
        assert [record.id for record in failed] == [ids[0]]
        assert failed[0].error
        assert (failed[0].score, failed[0].n_out, failed[0].references) == ({}, 0, records[ids[0]].references)
    # It is done with, unless failures are to be tried again; then its place is taken by the answer.
    assert ask(subject, stores) == 0
    healed = stores_of(cells_of(study), tmp_path)
    assert ask(subject, healed, retry=True) == 2
    assert not any(record.failed for _, store in healed for record in store.found().records.values())


def test_another_task_or_other_questions_are_another_store(study: Study, tmp_path: Path) -> None:
    cell = cells_of(study)[0]
    other = replace(cell, asked=replace(cell.asked, task=cell.asked.task.model_copy(update={"new_tokens": 5})))
    fewer = replace(cell, asked=replace(cell.asked, ids=cell.asked.ids[:3]))
    folders = {each.store(tmp_path, again=AGAIN).folder for each in (cell, other, fewer)}
    assert len(folders) == 3
    assert cell.store(tmp_path, again=AGAIN).folder in folders

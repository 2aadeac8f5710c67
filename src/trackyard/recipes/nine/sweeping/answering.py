"""Questions of a task under several configurations of a model, answered, scored and put into their stores.

Prompts are made once for all configurations of one visual level; what a store has already is not asked again. A
question whose pictures cannot be read is recorded as failed. Source: nine-datasets spec section 6.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trackyard.errors import DataError
from trackyard.evaluate.answering.engine import Generated, answer
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.records import Sample
from trackyard.evaluate.scorers.table import score_answer
from trackyard.evaluate.store import Store
from trackyard.evaluate.sweep.configuration import Configuration
from trackyard.evaluate.tasks.question import Question
from trackyard.recipes.nine.sweeping.asked import Asked
from trackyard.recipes.nine.sweeping.turning import turned


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One configuration on one task. document: everything that can change an answer; its digest is the key."""

    key: str
    document: Mapping[str, Any]
    configuration: Configuration
    asked: Asked

    def store(self, root: Path, *, again: str) -> Store[Sample]:
        """Where its answers are kept, below `root`. The task is part of the folder's name: a changed one is another."""
        folder = root / self.key / f"{self.asked.task.name}-{self.asked.digest[:12]}"
        about = {"document": self.document, "task": self.asked.digest}
        return Store(folder, Sample, key=self.key, about=about, ids=self.asked.ids, again=again)


def answer_cells(
    subject: Subject,
    cells: Sequence[tuple[Cell, Store[Sample]]],
    ids: Sequence[str],
    *,
    batch: int,
    chunk: int,
    label: str,
    retry: bool = False,
) -> int:
    """Answer what is missing of `ids` in cells of one task and one visual level, and return how many answers that was.

    batch: answers under way at once. chunk: questions whose prompts are held, and that are put on disk together.
    label: of this process, in the names of its files. retry: ask again what failed before.
    """
    missing = [set(store.missing(ids, failed=retry)) for _, store in cells]
    wanted = [name for name in ids if any(name in lacking for lacking in missing)]
    if not wanted:
        return 0
    done = 0
    writers = [store.writer(label) for _, store in cells]
    try:
        for at in range(0, len(wanted), chunk):
            names = wanted[at : at + chunk]
            prompted = _prompted(subject, cells[0][0], names)
            for (cell, _), writer, lacking in zip(cells, writers, missing, strict=True):
                for record in _records(subject, cell, prompted, [n for n in names if n in lacking], batch):
                    writer.append(record)
                    done += 1
                writer.flush()
    finally:
        for writer in writers:
            writer.close()
    return done


@dataclass(frozen=True, slots=True)
class _Prompted:
    """A question and its prompt, or why there is none. Media are let go: the prompt holds what the model sees."""

    question: Question
    prompt: Prompt | None
    error: str | None = None


def _prompted(subject: Subject, cell: Cell, names: Sequence[str]) -> dict[str, _Prompted]:
    found = {}
    for name in names:
        # A picture may be found damaged when it is read, or not before its pixels are wanted.
        try:
            question = cell.asked[name]
            prompt = subject.prompt(question, cell.asked.task, visual=cell.configuration.visual)
        except DataError as error:
            found[name] = _Prompted(cell.asked.bare(name), None, f"{error.what}: {error.why}")
        else:
            found[name] = _Prompted(replace(question, media=()), prompt)
    return found


def _records(
    subject: Subject, cell: Cell, prompted: Mapping[str, _Prompted], names: Sequence[str], batch: int
) -> Iterator[Sample]:
    task = cell.asked.task
    asked = [(name, prompt, task.new_tokens) for name in names if (prompt := prompted[name].prompt) is not None]
    with turned(subject.model, cell.configuration):
        for name, generated in answer(subject, asked, batch=batch, on_smaller=_told):
            yield _answered(subject, cell, prompted[name].question, generated)
    for name in names:
        if prompted[name].prompt is None:
            yield _failed(cell, prompted[name])


def _told(batch: int) -> None:
    logging.getLogger(__name__).warning("no memory for the batch that was asked for: %d at a time, same answers", batch)


def _answered(subject: Subject, cell: Cell, question: Question, generated: Generated) -> Sample:
    text = subject.text(generated.tokens)
    scored = score_answer(cell.asked.task.metrics, question, text)
    return Sample(
        key=cell.key,
        id=question.id,
        dataset=cell.asked.task.name,
        split=cell.asked.task.split,
        pred=text,
        references=question.references or None,
        answer_index=question.answer_index,
        parsed=scored.parsed,
        score=scored.score,
        n_visual=generated.n_visual,
        n_prompt=generated.n_prompt,
        n_out=len(generated.tokens),
        hit_cap=generated.hit_cap,
    )


def _failed(cell: Cell, of: _Prompted) -> Sample:
    return Sample(
        key=cell.key,
        id=of.question.id,
        dataset=cell.asked.task.name,
        split=cell.asked.task.split,
        pred="",
        references=of.question.references or None,
        answer_index=of.question.answer_index,
        parsed=None,
        score={},
        n_visual=0,
        n_prompt=0,
        n_out=0,
        hit_cap=False,
        status="failed",
        error=of.error,
    )

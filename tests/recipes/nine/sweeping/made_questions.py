"""Questions without a data set, and records of answers to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trackyard.evaluate.records import Sample
from trackyard.evaluate.sweep.configuration import Configuration
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.sweeping.answering import Cell
from trackyard.recipes.nine.sweeping.asked import Asked, asked

KEY = "a" * 64


def task(**changed: Any) -> Task:
    values: dict[str, Any] = {"name": "made", "layout": "rows", "entry": "made", "new_tokens": 8, "metric": "em"}
    return Task(**(values | changed))


def question(name: str) -> Question:
    """Answered by the last part of its id."""
    return Question(id=name, question="?", references=(name.rsplit(":", 1)[-1],))


@dataclass(frozen=True)
class Listed:
    """Questions in memory."""

    questions: tuple[Question, ...]
    digest: str = "d"

    @classmethod
    def of(cls, ids: Sequence[str], make: Callable[[str], Question] = question, *, digest: str = "d") -> Listed:
        return cls(tuple(make(name) for name in ids), digest)

    @property
    def ids(self) -> Sequence[str]:
        return [one.id for one in self.questions]

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, number: int) -> Question:
        return self.questions[number]

    def bare(self, number: int) -> Question:
        return self.questions[number]


def cell(of: Task, questions: Listed, *, key: str = KEY) -> Cell:
    """All of them under a configuration without knobs."""
    every: Asked = asked(of, questions, limit=None, seed=0)
    return Cell(key=key, document={"knobs": {}}, configuration=Configuration(), asked=every)


def sample(of: Cell, name: str, pred: str, score: dict[str, float], **changed: Any) -> Sample:
    asked_for = of.asked.bare(name)
    values: dict[str, Any] = {
        "key": of.key,
        "id": name,
        "dataset": of.asked.task.name,
        "split": of.asked.task.split,
        "pred": pred,
        "references": asked_for.references or None,
        "answer_index": asked_for.answer_index,
        "parsed": pred or None,
        "score": score,
        "n_visual": 8,
        "n_prompt": 20,
        "n_out": 3,
        "hit_cap": False,
    }
    return Sample(**(values | changed))


def failure(of: Cell, name: str, error: str) -> Sample:
    return sample(of, name, "", {}, n_visual=0, n_prompt=0, n_out=0, status="failed", error=error)

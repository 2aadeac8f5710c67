"""Which questions of a task are asked: all, or a number of them that a key of their ids draws.

The draw knows nothing of machines, configurations or models, so every configuration is asked the same.
Source: nine-datasets spec section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from trackyard.digest import digest_json
from trackyard.errors import ConfigError
from trackyard.evaluate.tasks.question import Question, Questions
from trackyard.evaluate.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Questions of a task. ids: those that are asked, in the order of the data set."""

    task: Task
    questions: Questions
    ids: tuple[str, ...]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.questions.ids)}

    def __getitem__(self, name: str) -> Question:
        return self.questions[self._numbers[name]]

    def bare(self, name: str) -> Question:
        """A question without its media."""
        return self.questions.bare(self._numbers[name])

    @cached_property
    def digest(self) -> str:
        """Of all that decides what is asked, how it is shown and how answers are scored."""
        return digest_json({"task": self.task.digest, "questions": self.questions.digest, "ids": list(self.ids)})


def asked(task: Task, questions: Questions, *, limit: int | None, seed: int) -> Asked:
    """All questions, or `limit` of them. ConfigError where there are fewer."""
    ids = tuple(questions.ids)
    if limit is None:
        return Asked(task=task, questions=questions, ids=ids)
    if limit > len(ids):
        raise ConfigError(
            what=f"{limit:,} questions of {task.name}, which has {len(ids):,}",
            why="a score over fewer than were asked for would not be the one that was meant",
            fix=f"lower nine.data.samples.{task.name} or nine.data.limit in params.yaml",
        )
    drawn = set(sorted(ids, key=lambda name: digest_json([seed, name]))[:limit])
    return Asked(task=task, questions=questions, ids=tuple(name for name in ids if name in drawn))

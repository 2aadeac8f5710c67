"""ST-VQA: its validation is made from the training questions, and its images lie beside their JSON file.

Source: nine-datasets spec section 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from trackyard.errors import DataError

SEED = 63069
VALIDATION = 1024
QUESTIONS = "train_task_3.json"
BATCH = 1000
IMAGE_FIELD = "file_path"

T = TypeVar("T")


def shuffled(items: Sequence[T]) -> list[T]:
    """The fixed order of the split: `numpy.random.RandomState(63069).shuffle` on a copy."""
    order = list(items)
    np.random.RandomState(SEED).shuffle(order)  # type: ignore[arg-type]
    return order


def scene_text_split(
    questions: Sequence[Mapping[str, Any]], *, validation: int = VALIDATION
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """(validation, train) of the training questions, in the order of the shuffle. DataError if there are too few."""
    if len(questions) < validation:
        raise DataError(
            what=f"{len(questions)} training questions, and the validation split takes {validation}",
            why="the split would be another one than the published one",
            fix=f"bring the whole {QUESTIONS}: trackyard data instructions st_qa",
        )
    order = shuffled(sorted(questions, key=lambda question: question["question_id"]))
    return order[:validation], order[validation:]


def read_questions(path: Path) -> list[Mapping[str, Any]]:
    """Entries of the JSON file; DataError if it is absent or another file."""
    try:
        body = json.loads(path.read_bytes())
        questions = body["data"]
        if not all("question_id" in question and IMAGE_FIELD in question for question in questions):
            raise KeyError("question_id, file_path")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            what=f"{path} is not the question file of ST-VQA task 3: {error}",
            why="the questions of st_qa and their images are named in it",
            fix="trackyard data instructions st_qa",
        ) from error
    return list(questions)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionTable:
    """A split of ST-VQA as rows. Image paths are made absolute, as in the caches; the order is that of the split."""

    name: str
    questions: tuple[Mapping[str, Any], ...] = field(repr=False)
    folder: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.folder / QUESTIONS,)

    @property
    def declared(self) -> int | None:
        return len(self.questions)

    @property
    def schema(self) -> Any:
        return self._table().schema

    def batches(self) -> Iterator[Any]:
        yield from self._table().to_batches(max_chunksize=BATCH)

    def _table(self) -> Any:
        rows = [
            dict(question) | {IMAGE_FIELD: f"{self.folder.absolute()}/{question[IMAGE_FIELD]}"}
            for question in self.questions
        ]
        try:
            return pa.Table.from_pylist(rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(
                what=f"questions of {self.folder / QUESTIONS} differ in their fields: {error}",
                why="they have to become rows of one table",
                fix="trackyard data instructions st_qa",
            ) from error

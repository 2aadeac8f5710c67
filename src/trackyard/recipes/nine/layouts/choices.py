"""ScienceQA and MMMU: questions with lettered options, and MMMU's open ones.

Source: nine-datasets spec sections 1 and 11 (a hint goes before its question, once; options are the text of a list,
parsed as a literal; all images in order).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from trackyard.errors import DataError
from trackyard.evaluate.tasks.question import Question
from trackyard.recipes.nine.layouts.columns import INTEGER, TEXT, TEXTS
from trackyard.recipes.nine.layouts.staged import SplitTable
from trackyard.recipes.nine.layouts.staged_questions import Asked, StagedLayout, names_of, right_option

IMAGES = 7
"""Columns image_1 to image_7 of MMMU."""
CHOICE, OPEN = "multiple-choice", "open"
_SUBJECT = re.compile(r"[a-z]+_(.+)_\d+")
"""Ids of MMMU: validation_Accounting_1."""


def _science_names(table: SplitTable) -> list[tuple[str, ...]]:
    """Rows with an image, by their number: the data set gives no id."""
    return [(str(row),) if shown else () for row, shown in enumerate(table.illustrated.tolist())]


def _science(row: Mapping[str, Any], asked: Asked) -> Question:
    options = tuple(row["choices"])
    return Question(
        id=asked.id,
        question=f"{row['hint']}\n{row['question']}" if row["hint"] else row["question"],
        media=asked.media,
        options=options,
        answer_index=right_option(row["answer"], options, question=asked.id),
        groups={"subject": row["subject"]},
    )


def _mmmu(row: Mapping[str, Any], asked: Asked) -> Question:
    subject = _SUBJECT.fullmatch(row["id"])
    options = literal_texts(row["options"], question=asked.id, field="options")
    return mmmu_question(row, asked, options, kind=row["question_type"], subject=subject.group(1) if subject else "")


def mmmu_question(
    row: Mapping[str, Any], asked: Asked, options: tuple[str, ...], *, kind: str, subject: str
) -> Question:
    """A question of MMMU or MMMU-Pro. kind: multiple-choice or open. DataError for any other, or an answer of none."""
    groups = {"kind": kind} | ({"subject": subject} if subject else {})
    if kind == OPEN:
        return Question(
            id=asked.id,
            question=row["question"],
            media=asked.media,
            references=_open_answers(row["answer"], asked.id),
            groups=groups,
        )
    letter = row["answer"].strip()
    if kind != CHOICE or len(letter) != 1 or letter not in ascii_uppercase:
        raise DataError(
            what=f"{asked.id} is of type {kind!r} with the answer {letter!r}",
            why=f"questions are {CHOICE}, answered by a letter, or {OPEN}",
            fix="choose a split whose answers are published, or stage the entry again",
        )
    return Question(
        id=asked.id,
        question=row["question"],
        media=asked.media,
        options=options,
        answer_index=right_option(ascii_uppercase.index(letter), options, question=asked.id),
        groups=groups,
    )


def literal_texts(text: str, *, question: str, field: str) -> tuple[str, ...]:
    """The list that a text writes down. It is read as a literal: names and calls in it are refused with a DataError."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise _no_list(text, question, field) from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise _no_list(text, question, field)
    return tuple(found)


def _no_list(text: str, question: str, field: str) -> DataError:
    return DataError(
        what=f"{question}: {field} is {text[:80]!r}, which is no list of texts",
        why="what could be chosen would be guessed",
        fix="stage the entry again from a cache of the data set that catalog/nine.yaml names",
    )


def _open_answers(answer: str, question: str) -> tuple[str, ...]:
    """Accepted answers of an open question: a text, or the text of a list."""
    if answer.startswith("[") and answer.endswith("]"):
        try:
            return literal_texts(answer, question=question, field="answer")
        except DataError:
            return (answer,)  # an answer may be an interval, or chemistry
    return (answer,)


CHOICES = {
    "science_qa": StagedLayout(
        texts={"question": TEXT, "choices": TEXTS, "answer": INTEGER, "hint": TEXT, "subject": TEXT},
        names=_science_names,
        make=_science,
    ),
    "mmmu": StagedLayout(
        texts={"id": TEXT, "question": TEXT, "options": TEXT, "answer": TEXT, "question_type": TEXT},
        images=tuple(f"image_{number}" for number in range(1, IMAGES + 1)),
        names=names_of("id"),
        make=_mmmu,
    ),
}

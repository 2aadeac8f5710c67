"""Questions of a staged split: which there are is known at once, each is made when it is asked for.

Source: nine-datasets spec sections 1 and 6 (global ids).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trackyard.acquire.media import image_header
from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.layouts.columns import Kind
from trackyard.recipes.nine.layouts.staged import SplitTable, open_split
from trackyard.row import Media

READER = 1
"""Raised when a reader makes other questions of the same bytes."""
_ORIENTATION, _SIDEWAYS = 0x0112, frozenset((5, 6, 7, 8))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question of a row that is to be made. which: number of the question among those of its row."""

    id: str
    which: int
    media: tuple[Media, ...]
    task: Task


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedLayout:
    """How rows become questions. texts, images: columns. names: of the questions of every row, none for a row that is
    left out; unique in the split. make: one of them."""

    texts: Mapping[str, Kind]
    images: tuple[str, ...] = ("image",)
    names: Callable[[SplitTable], Sequence[Sequence[str]]]
    make: Callable[[Mapping[str, Any], Asked], Question]


def names_of(column: str) -> Callable[[SplitTable], Sequence[Sequence[str]]]:
    """One question to a row, named by a column."""
    return lambda table: [(str(name),) for name in table.texts[column].to_pylist()]


class StagedQuestions:
    """The questions of a task, in the order of its data set."""

    def __init__(self, task: Task, layout: StagedLayout, table: SplitTable) -> None:
        self._task, self._layout, self._table = task, layout, table
        names = layout.names(table)
        counts = [len(of_row) for of_row in names]
        prefix = f"{task.entry}:{task.split}"
        self.ids: list[str] = [f"{prefix}:{name}" for of_row in names for name in of_row]
        self._rows = np.repeat(np.arange(len(counts)), counts)
        self._firsts = np.cumsum([0, *counts])[:-1]
        _require_distinct(self.ids, table.shards.folder)
        self.digest = digest_json(
            {
                "reader": READER,
                "layout": task.layout,
                "style": task.style,
                "ids": prefix,
                "files": [file.blake3 for file in table.shards.files],
            }
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Question:
        pictures = self._table.pictures(self._row(number))
        if not pictures:
            raise DataError(
                what=f"{self.ids[number]} has no image",
                why="it is about one",
                fix=f"trackyard data verify {self._task.entry} --at B",
            )
        return self._made(number, tuple(image_of(data, path) for path, data in pictures))

    def bare(self, number: int) -> Question:
        """Without its images, which are not read."""
        return self._made(number, ())

    def _row(self, number: int) -> int:
        if not 0 <= number < len(self.ids):
            raise IndexError(f"question {number} of {len(self.ids)}")
        return int(self._rows[number])

    def _made(self, number: int, media: tuple[Media, ...]) -> Question:
        row = self._row(number)
        which = number - int(self._firsts[row])
        asked = Asked(id=self.ids[number], which=which, media=media, task=self._task)
        return self._layout.make(self._table.row(row), asked)


def staged_questions(task: Task, layout: StagedLayout, staged: Path) -> StagedQuestions:
    """Questions of a task below the folder of staged entries. DataError as `open_split` and `SplitTable`."""
    if task.entry is None:
        raise ValueError(f"task {task.name} has no entry")
    table = SplitTable(open_split(staged, task.entry, task.split), layout.texts, layout.images)
    return StagedQuestions(task, layout, table)


def image_of(data: bytes, path: str) -> Media:
    """An image by its header; pixels are decoded by whoever shows it. UnreadableMedia for what is no image."""
    with image_header(data, path) as header:
        width, height = header.size
        if header.getexif().get(_ORIENTATION, 1) in _SIDEWAYS:
            width, height = height, width
    return Media(kind="image", data=data, path=path, width=width, height=height)


def right_option(answer: int, options: Sequence[str], *, question: str) -> int:
    """Index of the right option. DataError where there is no such option."""
    if not 0 <= answer < len(options):
        raise DataError(
            what=f"{question} has {len(options)} options, and number {answer} is the right one",
            why="no answer to it could be right",
            fix="choose a split whose answers are published, or stage the entry again",
        )
    return answer


def _require_distinct(ids: Sequence[str], folder: Path) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise DataError(
                what=f"{folder}: two questions have the id {name!r}",
                why="answers are stored by the id of their question",
                fix="build the cache again where it comes from, and stage the entry again",
            )
        seen.add(name)

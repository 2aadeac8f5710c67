"""Questions of a data set of a snapshot, as `trackyard data import` writes it: one for each conversation of a row.

Every benchmark without a layout of its own is imported first, and read here. What an answer is measured against comes
from the row's meta (see `trackyard.row`). Source: molmo2 spec sections 3 and 14.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.frames import clip_bounds
from trackyard.feed.points import PointFormat, count_of_answer
from trackyard.feed.prompts import Scope, Wording, write_dialogue
from trackyard.feed.styles import Kind, Style, style_of
from trackyard.recipes.nine.layouts.staged_questions import READER, right_option
from trackyard.row import IMAGE_MARK, VIDEO_MARK, Row
from trackyard.snapshot.reader import SnapshotDataset, open_snapshot

IMPORT = "import the data set again with its ground truth, or leave the task out"
_SLACK = 0.05
"""Seconds: times are printed with one decimal."""


class RowQuestions:
    """Questions of a split; a row is read, and its bytes checked, when one of its questions is asked for."""

    def __init__(self, task: Task, dataset: SnapshotDataset) -> None:
        self._task, self._dataset = task, dataset
        names, counts = _conversations(dataset, task.split)
        prefix = f"{task.entry}:{task.split}"
        self.ids: list[str] = [
            f"{prefix}:{name}" if count == 1 else f"{prefix}:{name}#{branch}"
            for name, count in zip(names, counts, strict=True)
            for branch in range(count)
        ]
        self._rows = np.repeat(np.arange(len(counts)), counts)
        self._firsts = np.cumsum([0, *counts])[:-1]
        self.digest = digest_json(
            {"reader": READER, "ids": prefix, "style": task.style, "snapshot": dataset.manifest.fingerprint}
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Question:
        if not 0 <= number < len(self.ids):
            raise IndexError(f"question {number} of {len(self.ids)}")
        at = int(self._rows[number])
        row = replace(self._dataset.row(self._task.split, at), task=self._task.style)
        return question_of(row, number - int(self._firsts[at]), self.ids[number], self._dataset.name)

    def bare(self, number: int) -> Question:
        """The question without its media. Its row is read and checked all the same: what is shown of a video, and so
        what is right, depends on how long it is."""
        return replace(self[number], media=())


def row_questions(task: Task, snapshot: Path) -> RowQuestions:
    """Questions of a task below a snapshot. DataError where the data set or its split is not in it."""
    if task.entry is None:
        raise ValueError(f"task {task.name} has no entry")
    dataset = open_snapshot(snapshot, [task.entry])[task.entry]
    if not dataset.rows(task.split):
        raise DataError(
            what=f"{dataset.directory} has no rows of the split {task.split!r}; it has {', '.join(dataset.splits)}",
            why=f"task {task.name} is evaluated on it",
            fix=f"import {task.entry} with its evaluated split as {task.split}, or name another in tasks/",
        )
    return RowQuestions(task, dataset)


def question_of(row: Row, branch: int, name: str, dataset: str) -> Question:
    """Conversation `branch` of a row as a question. row.task: the style it is asked in."""
    style = style_of(row.task)
    turns = row.conversations[branch]
    if len(turns) != 2:
        raise DataError(
            what=f"{name} has {len(turns)} turns",
            why="a question is asked once and answered once",
            fix=IMPORT,
        )
    options = tuple(str(option) for option in _of(row, "options", branch) or ())
    start, end = _clip(row)
    scope = Scope(images=len(row.media), start=start, end=end) if end else Scope(images=len(row.media))
    stated = turns[1].content.strip()
    entries = _of(row, "points", branch)
    answer_index = _of(row, "answer_index", branch)
    return Question(
        id=name,
        question=_asked(row, branch, dataset, scope, style),
        media=row.media,
        options=options,
        references=_references(stated, entries, style),
        answer_index=None if answer_index is None else right_option(int(answer_index), options, question=name),
        cluster=f"{dataset}:{row.id}" if len(row.conversations) > 1 else "",
        # Rows of several source files carry their folder in the id that the import makes.
        groups={"subject": row.id.split("/", 1)[0]} if "/" in row.id else {},
        truth=_truth(row, branch, style, (start, end)),
    )


def _asked(row: Row, branch: int, dataset: str, scope: Scope, style: Style) -> str:
    """The row's own words, or those that the style's first wording makes of its label; without the style's tag."""
    said = row.conversations[branch][0].content.replace(IMAGE_MARK, "").replace(VIDEO_MARK, "").strip()
    if said:
        return said
    wording = Wording(seed=0, point_format=PointFormat.HTML_V2, evaluation=True)
    written = write_dialogue(row, branch, dataset, scope, wording, answered=False)
    if written.reason:
        raise DataError(what=f"row {row.id!r} of {dataset}: {written.reason}", why="nothing could be asked", fix=IMPORT)
    return written.turns[0][0].removeprefix(f"{style.name}: ")


def _references(stated: str, entries: Any, style: Style) -> tuple[str, ...]:
    """What an answer is compared with: a count where the style counts, else the text that the row has."""
    if style.count is None:
        return (stated,) if stated else ()
    count = count_of_answer(stated) if stated else None if entries is None else len(entries)
    return () if count is None else (str(count),)


def _truth(row: Row, branch: int, style: Style, clip: tuple[float, float]) -> Mapping[str, Any]:
    """Points and regions with times from the start of what is shown, and what a prompt needs besides the question."""
    start, end = clip
    truth: dict[str, Any] = {"duration": end - start}
    entries = _of(row, "points", branch)
    if entries is not None:
        hides = style.kind is Kind.TRACKS
        truth["points"] = [
            dict(point) | {"t": float(point["t"]) - start}
            for point in entries
            if not (hides and point.get("occluded", False))
            and (not end or start - _SLACK <= float(point["t"]) <= end + _SLACK)
        ]
    label = _of(row, "label", branch)
    if label:
        truth["label"] = label
    for name in ("clip", "sampling_fps"):
        if name in row.meta:
            truth[name] = row.meta[name]
    # Subtitles are shown by the style that is named after them only: a benchmark is scored with and without.
    if row.task.endswith("_w_subtitle") and "subtitle" in row.meta:
        truth["subtitle"] = row.meta["subtitle"]
    return truth


def _clip(row: Row) -> tuple[float, float]:
    """Seconds of the video that are shown; (0, 0) for images and texts."""
    if not row.media or row.media[0].kind == "image":
        return 0.0, 0.0
    clip = row.meta.get("clip")
    start, end = clip_bounds(row.media[0], None if clip is None else (float(clip[0]), float(clip[1])))
    return float(start), float(end)


def _of(row: Row, key: str, branch: int) -> Any:
    values = row.meta.get(key)
    return None if values is None else values[branch]


def _conversations(dataset: SnapshotDataset, split: str) -> tuple[list[str], list[int]]:
    """Ids of the rows of a split and how many conversations each has; media are not read."""
    names: list[str] = []
    counts: list[int] = []
    for entry in dataset.manifest.files:
        if entry.split != split:
            continue
        path = dataset.directory / entry.path
        try:
            table = pq.read_table(path, columns=["id", "conversations"])
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                what=f"{path} cannot be read: {error}",
                why="questions lie in it",
                fix=dataset.restore,
            ) from error
        names += table["id"].to_pylist()
        counts += pc.list_value_length(table["conversations"]).to_pylist()
    return names, counts

"""MMMU's questions as local files: JSON lines with image files beside them, options as a list.

A line: {question, options, answer: letter or text, image_1 … image_n: path below the folder}, and optionally id,
question_type and subject. Source: nine-datasets spec section 1, the layout of MMMU-Pro's questions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.layouts.choices import CHOICE, OPEN, mmmu_question
from trackyard.recipes.nine.layouts.staged_questions import READER, Asked, image_of
from trackyard.row import Media

QUESTIONS = "questions.jsonl"


class FileQuestions:
    """Questions of a folder, in the order of its lines."""

    def __init__(self, task: Task, folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        self._task, self._folder, self._lines = task, folder, lines
        prefix = f"{task.entry or task.name}:{task.split}"
        self.ids: list[str] = [f"{prefix}:{line.get('id', number)}" for number, line in enumerate(lines)]
        self._images = [[folder / line[name] for name in image_names(line)] for line in lines]
        files = {str(path.relative_to(folder)): digest_file(path) for paths in self._images for path in paths}
        self.digest = digest_json({"reader": READER, "ids": prefix, "lines": digest_json(list(lines)), "images": files})

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Question:
        return self._made(number, tuple(image_of(path.read_bytes(), str(path)) for path in self._images[number]))

    def bare(self, number: int) -> Question:
        """The question without its images, which are not read."""
        return self._made(number, ())

    def _made(self, number: int, media: tuple[Media, ...]) -> Question:
        line = self._lines[number]
        asked = Asked(id=self.ids[number], which=0, media=media, task=self._task)
        options = tuple(line["options"])
        kind = str(line.get("question_type", CHOICE if options else OPEN))
        return mmmu_question(line, asked, options, kind=kind, subject=str(line.get("subject", "")))


def image_names(line: Mapping[str, Any]) -> list[str]:
    """Keys image_1, image_2 … of a line that name a file, by their number: ten comes after nine."""
    keys = [key for key, value in line.items() if key.startswith("image_") and key[6:].isdecimal() and value]
    return sorted(keys, key=lambda key: int(key[6:]))


def open_files(task: Task, folder: Path) -> FileQuestions:
    """Read `questions.jsonl` of a folder; images are only looked for and hashed. DataError names the line."""
    path = folder / QUESTIONS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(folder, f"{path}: {error.strerror}") from error
    lines: list[Mapping[str, Any]] = []
    for number, text in enumerate(content.splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError as error:
            raise _unusable(folder, f"{path}:{number}: {error}") from error
        problem = _problem(line, folder)
        if problem:
            raise _unusable(folder, f"{path}:{number}: {problem}")
        lines.append(line)
    names = [str(line.get("id", number)) for number, line in enumerate(lines)]
    if len(set(names)) != len(names):
        raise _unusable(folder, f"{path}: an id comes twice")
    return FileQuestions(task, folder, lines)


def _problem(line: Any, folder: Path) -> str | None:
    if not isinstance(line, dict):
        return "it is no object"
    for name, kind in (("question", str), ("answer", str), ("options", list)):
        if not isinstance(line.get(name), kind):
            return f"{name} is {line.get(name)!r}, not a {kind.__name__}"
    if not all(isinstance(option, str) for option in line["options"]):
        return f"options are {line['options']!r}"
    for name in image_names(line):
        value = line[name]
        if not isinstance(value, str) or Path(value).is_absolute() or ".." in Path(value).parts:
            return f"{name} is {value!r}, not a path below the folder"
        if not (folder / value).is_file():
            return f"{name} {value} is not there"
    return None


def _unusable(folder: Path, what: str) -> DataError:
    return DataError(
        what=what,
        why=f"the questions below {folder} cannot be asked",
        fix=f"write {QUESTIONS} with question, options, answer and image_1 … on each line, images beside it",
    )

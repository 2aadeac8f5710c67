"""From a task and a folder to its questions, whatever the layout."""

from __future__ import annotations

from pathlib import Path

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.tasks.question import Questions
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.layouts.choices import CHOICES
from trackyard.recipes.nine.layouts.mmmu_files import open_files
from trackyard.recipes.nine.layouts.rows import row_questions
from trackyard.recipes.nine.layouts.short_answers import SHORT_ANSWERS
from trackyard.recipes.nine.layouts.staged_questions import staged_questions

STAGED_LAYOUTS = SHORT_ANSWERS | CHOICES


def open_questions(task: Task, folder: Path) -> Questions:
    """The questions of a task, which are as many as it states (`samples`), where it states a number.

    folder: of the nine data sets, what holds a folder for each staged entry; of rows, the snapshot; of local files,
    their own. ConfigError for a benchmark of lm-evaluation-harness, which asks by itself. DataError where the data are
    not there, not whole, of other columns or of another number.
    """
    questions: Questions
    if task.layout in STAGED_LAYOUTS:
        questions = staged_questions(task, STAGED_LAYOUTS[task.layout], folder)
    elif task.layout == "rows":
        questions = row_questions(task, folder)
    elif task.layout == "mmmu_files":
        questions = open_files(task, folder)
    else:
        raise ConfigError(
            what=f"task {task.name} is of layout {task.layout!r}",
            why="its questions are asked by lm-evaluation-harness, which compares likelihoods",
            fix="name it under pile_ffn.benchmarks.tasks in params.yaml, or choose another task",
        )
    if not len(questions) or (task.samples is not None and len(questions) != task.samples):
        stated = "" if task.samples is None else f", and {task.samples:,} are stated"
        raise DataError(
            what=f"task {task.name}: {len(questions):,} questions in {folder}{stated}",
            why="a score over other questions is not the score of the data set",
            fix=f"stage {task.entry or folder} again and prove it, or correct `samples` of {task.name} in tasks/",
        )
    return questions

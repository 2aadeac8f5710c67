"""What is tried before hours are spent: that a folder is a model, and that each task goes through it.

Source: nine-datasets spec section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.engine import answer
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject
from trackyard.recipes.nine.sweeping.answering import Cell

CONFIGURATION = "config.json"
TRIED = 8
"""Questions of a task at most: the first may be one whose picture cannot be read."""
TOKENS = 2


def require_opens(folder: Path) -> None:
    """DataError for a folder that is none, or holds no model. Whether it is whole is seen when it is loaded."""
    if not (folder / CONFIGURATION).is_file():
        raise DataError(
            what=f"{folder} {'holds no ' + CONFIGURATION if folder.is_dir() else 'is no folder'}",
            why="it is what says which class of transformers the weights belong to",
            fix="name a folder in the Hugging Face layout: an export of trackyard, or a downloaded model",
        )


def try_once(subject: Subject, cells: Sequence[Cell]) -> None:
    """A question of each task through the whole model.

    ConfigError for a task or a visual level that the model does not know, DataError for a task none of whose first
    questions can be asked.
    """
    if not subject.levels_matter and any(cell.configuration.visual is not None for cell in cells):
        raise ConfigError(
            what=f"--visual of {subject.name}, which reads text alone",
            why="no level of it changes what the model is shown",
            fix="run the command without --visual",
        )
    for cell in cells:
        list(answer(subject, [(0, _first_prompt(subject, cell), TOKENS)], batch=1))


def _first_prompt(subject: Subject, cell: Cell) -> Prompt:
    names = cell.asked.ids[:TRIED]
    for name in names[:-1]:
        try:
            return subject.prompt(cell.asked[name], cell.asked.task, visual=cell.configuration.visual)
        except DataError:
            continue  # it is recorded as failed when it is answered
    return subject.prompt(cell.asked[names[-1]], cell.asked.task, visual=cell.configuration.visual)

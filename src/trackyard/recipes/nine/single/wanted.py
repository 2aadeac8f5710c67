"""What is asked for: a folder, tasks by name or group, where their data lie, how many questions, and where to.

Nothing is opened here but the task files. Source: nine-datasets spec sections 1 and 6.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trackyard.acquire.staging.roots import Roots
from trackyard.errors import ConfigError
from trackyard.evaluate.answering.open_subject import Precision
from trackyard.evaluate.scorers.table import NOT_MEASURED
from trackyard.evaluate.tasks.registry import STAGED, choose_tasks, load_tasks, measurable
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.study import TASKS

HARNESS = "harness"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """root: of the repository. folder: of the model. out: where results and answers go.

    names: tasks or groups. data: folders, each a path for all tasks, or NAME=PATH for a task or a group. samples:
    NAME=NUMBER of questions. limit: questions of each other task, at most. visual: level of pictures, None for the
    model's own. batch: answers under way at once, which changes none. partial: show what there is although something
    is missing or failed.
    """

    root: Path
    folder: Path
    out: Path
    names: tuple[str, ...]
    data: tuple[str, ...]
    samples: tuple[str, ...] = ()
    limit: int | None = None
    visual: int | None = None
    precision: Precision = "fp32"
    batch: int = 32
    partial: bool = False

    @cached_property
    def _known(self) -> dict[str, Task]:
        return load_tasks(self.root / TASKS)

    @cached_property
    def chosen(self) -> dict[str, Task]:
        """Tasks that can be scored, less their secondary metrics that cannot. ConfigError where there is none."""
        named = choose_tasks(self._known, self.names)
        found = {name: measurable(task) for name, task in named.items() if name not in self.not_measured}
        if not found:
            raise ConfigError(
                what=f"nothing of {', '.join(self.names) or 'no task'} can be scored"
                + "".join(f"; {name}: {reason}" for name, reason in self.not_measured.items()),
                why="an evaluation without a metric has no result",
                fix="name tasks of `trackyard evaluate tasks`",
            )
        return found

    @cached_property
    def not_measured(self) -> dict[str, str]:
        """Tasks that were asked for, and whose metric cannot be had here, with the reason."""
        named = choose_tasks(self._known, self.names)
        return {name: NOT_MEASURED[task.metric] for name, task in named.items() if task.metric in NOT_MEASURED}

    @property
    def answered(self) -> dict[str, Task]:
        """Tasks that the model answers in words."""
        return {name: task for name, task in self.chosen.items() if task.layout != HARNESS}

    @property
    def compared(self) -> dict[str, Task]:
        """Tasks of lm-evaluation-harness, which compares likelihoods."""
        return {name: task for name, task in self.chosen.items() if task.layout == HARNESS}

    @cached_property
    def places(self) -> Mapping[str, Path]:
        """By task the folder that was named for it, or for all. A name of its own comes before one for all.

        ConfigError for a name that is no task, two folders for all, or no folder for a task that needs one.
        """
        found: dict[str, Path] = {}
        general: list[Path] = []
        for text in self.data:
            name, mark, path = text.partition("=")
            if not mark or "/" in name:
                general.append(Path(text))
            else:
                found |= dict.fromkeys(choose_tasks(self._known, [name]), Path(path))
        if len(general) > 1:
            raise ConfigError(
                what=f"--data names {' and '.join(map(str, general))}, both for all tasks",
                why="the questions of a task come from one of them, and which one would be a guess",
                fix=f"name the tasks of one of them: --data TASK={general[-1]}",
            )
        placed = {name: found.get(name, *general) for name in self.chosen if name in found or general}
        lacking = [name for name in self.answered if name not in placed]
        if lacking:
            raise ConfigError(
                what=f"no data for {', '.join(lacking)}",
                why="questions are read from a folder of this machine, and nothing is downloaded",
                fix=f"--data {lacking[0]}=DIR: a target of `trackyard data sync`, a snapshot, or local files",
            )
        return placed

    def questions_of(self, task: Task) -> Path:
        """What `open_questions` reads for a task: of a target of `data sync` what lies staged in it."""
        place = self.places[task.name]
        staged = Roots.below(place).staged
        return staged if task.layout in STAGED and staged.is_dir() else place

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Questions of single tasks. ConfigError for what is not NAME=NUMBER, or no task that was asked for."""
        found = {}
        for text in self.samples:
            name, _, number = text.partition("=")
            if name not in self.chosen or not number.isdecimal() or not int(number):
                raise ConfigError(
                    what=f"--samples {text}",
                    why=f"it is TASK=NUMBER, with one of the tasks {', '.join(self.chosen)}",
                    fix=f"--samples {next(iter(self.chosen))}=100",
                )
            found[name] = int(number)
        return found

    @property
    def again(self) -> str:
        """The command that does what is missing and puts out the results."""
        words = ["trackyard", "evaluate", "run", str(self.folder), "--out", str(self.out)]
        words += _each("--tasks", self.names) + _each("--data", self.data) + _each("--samples", self.samples)
        for option, value in (("--limit", self.limit), ("--visual", self.visual)):
            words += [] if value is None else [option, str(value)]
        return shlex.join([*words, "--precision", self.precision])


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (option, value)]

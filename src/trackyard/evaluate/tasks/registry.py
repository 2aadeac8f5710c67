"""The tasks of `tasks/*.yaml`, checked against the catalogue, the metrics and the styles when they are read.

Source: nine-datasets spec section 1, molmo2 spec section 14.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from trackyard.catalog.entries import Entry, load_catalogue
from trackyard.errors import ConfigError
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.scorers.table import METRICS, NOT_MEASURED
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.styles import STYLES
from trackyard.parameters import Parameters, parse_parameters, read_yaml

TAGGED_STYLES = (
    "vqa2", "text_vqa", "okvqa", "chart_qa", "doc_qa", "info_qa", "st_qa", "tally_qa", "a_okvqa_da", "tabwmp_da",
    "dv_qa", "figure_qa", "plot_qa", "video_short_answer",
)  # fmt: skip
"""Styles of short answers, whose name is their tag (molmo2 spec section 7). Any other name would be a tag too, one that
no model was trained with, so it is refused here."""

STAGED = frozenset(("vqa_v2", "text_vqa", "okvqa", "science_qa", "st_qa", "doc_qa", "tally_qa", "mmmu", "coco_caption"))
"""Layouts of the nine data sets as `trackyard data sync` stages them."""
CATALOGUE = "catalog"


class _Listed(Parameters):
    """One file. defaults: what its tasks have unless they say otherwise; tasks are parsed one by one, so that an error
    names the task and the nearest key."""

    defaults: dict[str, Any] = Field(default_factory=dict)
    tasks: tuple[dict[str, Any], ...] = Field(min_length=1)


def load_tasks(folder: Path, catalogue: Mapping[str, Entry] | None = None) -> dict[str, Task]:
    """Every task of every file, by name. catalogue: entries by name; None: those of the folder `catalog` beside it.

    ConfigError on an invalid file, an unknown key, metric, style or entry, a name that comes twice, a figure that
    contradicts the catalogue, or no task at all.
    """
    known = load_catalogue(folder.parent / CATALOGUE) if catalogue is None else catalogue
    tasks: dict[str, Task] = {}
    homes: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        for task in _tasks_of(path):
            if task.name in tasks:
                raise ConfigError(
                    what=f"{path} names the task {task.name!r}, and {homes[task.name]} does too",
                    why="results are stored under the name of their task",
                    fix=f"rename one of the two in {folder}",
                )
            problem = next(_problems(task, known), None)
            if problem:
                raise ConfigError(
                    what=f"{path}: task {task.name!r}: {problem}",
                    why="its scores would not be those of the data set that it names",
                    fix=f"correct the task in {path}",
                )
            tasks[task.name], homes[task.name] = task, path
    if not tasks:
        raise ConfigError(
            what=f"no task in {folder}",
            why="nothing could be asked of a model",
            fix="run the command in the repository root, or `git checkout -- tasks`",
        )
    return tasks


def choose_tasks(tasks: Mapping[str, Task], names: Iterable[str]) -> dict[str, Task]:
    """Tasks by name or by group, each once, in the order asked for. ConfigError names the nearest for any other."""
    chosen: dict[str, Task] = {}
    groups = {group for task in tasks.values() for group in task.groups}
    for name in names:
        if name in tasks:
            chosen[name] = tasks[name]
        elif name in groups:
            chosen |= {task.name: task for task in tasks.values() if name in task.groups}
        else:
            raise ConfigError(
                what=f"no task {name!r}{_nearest(name, (*tasks, *groups))}",
                why=f"tasks are described in tasks/*.yaml; the groups are {', '.join(sorted(groups))}",
                fix="correct the name, or describe the task in a file of tasks/",
            )
    return chosen


def measurable(task: Task) -> Task:
    """A task without its secondary metrics that cannot be had offline. ConfigError where the plotted one cannot."""
    if task.metric in NOT_MEASURED:
        raise ConfigError(
            what=f"the task {task.name} is scored by {task.metric}",
            why=NOT_MEASURED[task.metric],
            fix="leave the task out: the metric is reported as not measured, never as a number",
        )
    kept = tuple(name for name in task.secondary if name not in NOT_MEASURED)
    return task.model_copy(update={"secondary": kept})


def _tasks_of(path: Path) -> Iterator[Task]:
    listed = parse_parameters(_Listed, read_yaml(path), where=str(path))
    for number, values in enumerate(listed.tasks):
        where = f"{path}: {values.get('name', f'task {number}')}"
        yield parse_parameters(Task, listed.defaults | values, where=where)


def _problems(task: Task, catalogue: Mapping[str, Entry]) -> Iterator[str]:
    entry = None
    if task.entry is not None:
        entry = catalogue.get(task.entry)
        if entry is None:
            yield f"entry {task.entry!r} is not in the catalogue{_nearest(task.entry, catalogue)}"
            return
    elif task.layout != "mmmu_files":
        yield f"layout {task.layout!r} without an entry of the catalogue, which pins the data"
    if task.layout == "harness":
        yield from _harness_problems(task)
        return
    for metric in task.metrics:
        if metric not in METRICS and metric not in NOT_MEASURED:
            yield f"metric {metric!r} is not known{_nearest(metric, (*METRICS, *NOT_MEASURED))}"
    if len(set(task.metrics)) != len(task.metrics):
        yield f"a metric is named twice: {', '.join(task.metrics)}"
    styles = (*STYLES, *TAGGED_STYLES)
    if task.style not in styles:
        yield f"style {task.style!r} is not known{_nearest(task.style, styles)}"
    if entry is not None:
        yield from _contradictions(task, entry)


def _harness_problems(task: Task) -> Iterator[str]:
    definition = DEFINITIONS.get(task.name)
    if definition is None:
        yield f"no definition of this name{_nearest(task.name, DEFINITIONS)}; there are {', '.join(DEFINITIONS)}"
        return
    for name in ("entry", "split", "metric"):
        said, defined = getattr(task, name), getattr(definition, name)
        if said != defined:
            yield f"{name} {said!r}, and its definition has {defined!r}"


def _contradictions(task: Task, entry: Entry) -> Iterator[str]:
    """What task and catalogue both state, and state differently."""
    if task.layout in STAGED:
        if entry.nine is None:
            yield f"layout {task.layout!r}, and {entry.name} is none of the nine data sets"
            return
        for name, said, stated in (
            ("split", task.split, entry.nine.split),
            ("metric", task.metric, entry.nine.metric),
        ):
            if said != stated:
                yield f"{name} {said!r}, and the catalogue states {stated!r} for {entry.name}"
    figures = [getattr(entry.expected, name).value for name in ("examples", "visual", "annotations", "rows")]
    stated_counts = {value for value in (*figures, entry.nine.samples if entry.nine else None) if value is not None}
    # A set that is mainly trained on states the figures of its training split.
    evaluated = "nine" in entry.roles or "eval" in entry.roles
    if evaluated and task.samples is not None and stated_counts and task.samples not in stated_counts:
        told = ", ".join(f"{value:,}" for value in sorted(stated_counts))
        yield f"samples {task.samples:,}, and the catalogue states {told} for {entry.name}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""

"""Two evaluations of the same questions, in pairs. Source: nine-datasets spec section 9."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.model_comparison import Scores, TaskComparison, compare_models
from trackyard.evaluate.records import Sample
from trackyard.evaluate.store import read_records
from trackyard.recipes.nine.single.results import CLUSTERS, Evaluation, TaskResult, read_evaluation
from trackyard.recipes.nine.single.running import CLUSTERS_SCHEMA
from trackyard.recipes.nine.single.text_benchmarks import item_key
from trackyard.recipes.nine.single.wanted import HARNESS
from trackyard.recipes.nine.sweeping.scored import SAMPLES, values_of
from trackyard.sealed import read_sealed


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """first, second: names of the models. metrics: the one that is compared, by task."""

    first: str
    second: str
    metrics: dict[str, str]
    tasks: tuple[TaskComparison, ...]


def compare(first: Path, second: Path, names: Iterable[str] = ()) -> Comparison:
    """Two folders of results on their tasks, or on those named. What is corrected for is the number of these tasks.

    ConfigError for a task that one lacks. DataError where the two were asked different questions, or one is not whole.
    """
    one, other = read_evaluation(first), read_evaluation(second)
    tasks = _common(first, one, second, other, tuple(names))
    for name in tasks:
        _require_same_questions(name, one.tasks[name], other.tasks[name])
    compared = compare_models(_scores(first, one, tasks), _scores(second, other, tasks))
    return Comparison(
        first=one.model.name,
        second=other.model.name,
        metrics={name: one.tasks[name].metric for name in tasks},
        tasks=tuple(compared),
    )


def _common(first: Path, one: Evaluation, second: Path, other: Evaluation, names: tuple[str, ...]) -> tuple[str, ...]:
    wanted = names or tuple(one.tasks) + tuple(name for name in other.tasks if name not in one.tasks)
    for out, evaluation in ((first, one), (second, other)):
        lacking = [name for name in wanted if name not in evaluation.tasks]
        if lacking:
            both = [name for name in one.tasks if name in other.tasks]
            raise ConfigError(
                what=f"{out} has no result of {', '.join(lacking)}",
                why="models are compared on tasks that both were evaluated on",
                fix=f"--tasks {','.join(both)}" if both else "evaluate both models on the same tasks",
            )
    return wanted


def _require_same_questions(name: str, one: TaskResult, other: TaskResult) -> None:
    partial = one.watermark or other.watermark
    if partial:
        raise DataError(
            what=f"{name} is not whole: {partial}",
            why="a comparison over a part of the questions compares the parts",
            fix="evaluate both models without --partial",
        )
    if one.asked != other.asked:
        raise DataError(
            what=f"{name} was asked with other questions, or in another way: {one.expected:,} and {other.expected:,}",
            why="a comparison over other questions compares the questions",
            fix="evaluate both with the same tasks/*.yaml, data, --limit and --samples",
        )


def _scores(out: Path, evaluation: Evaluation, tasks: Iterable[str]) -> dict[str, Scores]:
    found = {}
    for name in tasks:
        task = evaluation.tasks[name]
        read: Callable[[Path, TaskResult], Scores] = _items if task.layout == HARNESS else _answers
        found[name] = read(out / name, task)
    return found


def _answers(folder: Path, task: TaskResult) -> Scores:
    samples = list(read_records(folder / SAMPLES, Sample))
    values = values_of(task.metric, folder, samples).tolist()
    clusters = None
    if CLUSTERS in task.files:
        fix = "evaluate the model again"
        clusters = read_sealed(folder / CLUSTERS, CLUSTERS_SCHEMA, fix=fix)["clusters"]
    return Scores(values=dict(zip((sample.id for sample in samples), values, strict=True)), clusters=clusters)


def _items(folder: Path, task: TaskResult) -> Scores:
    lines = [json.loads(line) for line in (folder / SAMPLES).read_text(encoding="utf-8").splitlines()]
    return Scores(values={item_key(line): float(line["metrics"][task.metric]) for line in lines})

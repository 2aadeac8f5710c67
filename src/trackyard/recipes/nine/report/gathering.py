"""Everything that was measured, together, and what is refused before a number of it is shown.

Refused: a configuration that a data set lacks, results of no key of the sweep, two results of one, samples that are
missing or failed, configurations that were asked other questions, and latencies of unlike devices. A partial view is
made on request only, and says so. Source: nine-datasets spec sections 7 and 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from trackyard.errors import DataError
from trackyard.evaluate.completeness import require_configurations
from trackyard.evaluate.latency.circumstances import refuse_mixed
from trackyard.evaluate.model_comparison import Scores
from trackyard.recipes.nine.report.measured import Measurement, SweepFacts, TaskFacts
from trackyard.recipes.nine.results import PIPELINE

ScoresOf = Callable[[str, str], Scores]
"""Of a data set and a key; read when two configurations are compared."""
AGAIN = f"dvc repro {PIPELINE} (what is there is kept)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What passed. results: by data set, then by key in the order of the sweep. watermarks: by data set, "" where it
    is complete; tables and figures show them."""

    sweep: SweepFacts
    tasks: Mapping[str, TaskFacts]
    results: Mapping[str, Mapping[str, Measurement]]
    watermarks: Mapping[str, str]
    scores: ScoresOf

    @property
    def watermark(self) -> str:
        """Of whatever shows all data sets."""
        partial = [text for text in self.watermarks.values() if text]
        return f"PARTIAL: {len(partial)} of {len(self.watermarks)} data sets incomplete" if partial else ""

    @property
    def all(self) -> list[Measurement]:
        return [result for here in self.results.values() for result in here.values()]


def put_together(
    sweep: SweepFacts,
    tasks: Sequence[TaskFacts],
    found: Iterable[Measurement],
    scores: ScoresOf,
    *,
    partial: bool = False,
) -> Gathered:
    """Of samples that passed the gate of their own (`evaluate.completeness.require_samples`).

    DataError names the first thing that may not be in a table. partial: show what there is, with a watermark, where
    something is only missing; what contradicts is refused all the same.
    """
    by_task: dict[str, list[Measurement]] = {task.name: [] for task in tasks}
    for result in found:
        if result.dataset not in by_task:
            raise DataError(
                what=f"a result of {result.name} on {result.dataset}, which is not among {', '.join(by_task)}",
                why="it was measured under other parameters than those in force",
                fix=AGAIN,
            )
        by_task[result.dataset].append(result)
    refuse_mixed(sweep.machines)
    results, watermarks = {}, {}
    for task in tasks:
        here = by_task[task.name]
        keys = [result.key for result in here]
        texts = [require_configurations(task=task.name, expected=sweep.keys, found=keys, again=AGAIN, partial=partial)]
        _refuse_unlike(task, here)
        for result in here:
            if result.tally.watermark and not partial:
                raise DataError(
                    what=f"{task.name}, configuration {result.name} ({result.words}): {result.tally.watermark}",
                    why="a frontier over a part of the samples is another frontier",
                    fix=AGAIN,
                )
            texts.append(result.tally.watermark)
        # One is told in full; the least complete configuration says most.
        told = sorted({text for text in texts if text}, key=lambda text: ("configurations" not in text, text))
        watermarks[task.name] = told[0] if told else ""
        by_key = {result.key: result for result in here}
        results[task.name] = {key: by_key[key] for key in sweep.keys if key in by_key}
    if not any(results.values()):
        raise DataError(what="no configuration was measured on any data set", why="there is nothing to show", fix=AGAIN)
    return Gathered(
        sweep=sweep, tasks={task.name: task for task in tasks}, results=results, watermarks=watermarks, scores=scores
    )


def _refuse_unlike(task: TaskFacts, here: Sequence[Measurement]) -> None:
    """Configurations of a data set differ by their knobs alone."""
    seen: set[str] = set()
    for result in here:
        first = here[0]
        if result.key in seen:
            raise DataError(
                what=f"two results of {result.name} on {task.name}",
                why="nobody can say which of them was meant",
                fix=f"remove the older one, then {AGAIN}",
            )
        seen.add(result.key)
        for name, value, other in (
            ("split", result.split, first.split),
            ("number of samples", result.tally.expected, first.tally.expected),
        ):
            if value != other:
                raise DataError(
                    what=f"{task.name}: the {name} is {other} of {first.name} and {value} of {result.name}",
                    why="configurations are compared on the same questions or not at all",
                    fix=f"measure the older one again: {AGAIN}",
                )
        if task.metric not in result.metric:
            raise DataError(
                what=f"{task.name}: {result.name} has no {task.metric}; it has {', '.join(result.metric)}",
                why="it is the metric that is plotted",
                fix=AGAIN,
            )

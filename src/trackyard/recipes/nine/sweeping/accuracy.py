"""The stage that answers every question under every configuration (exp5), and scores the answers.

    trackyard run nine accuracy --shard 3/8     # questions 3, 11, 19 ... of every task, on this machine's GPUs or cores
    trackyard run nine accuracy                 # all that is missing, then the results

Answers are appended below runs/nine/accuracy; only the second puts out artifacts/nine/accuracy. A killed run goes on
where it was, and parts of one division may run at the same time. Source: nine-datasets spec section 6.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from trackyard.digest import digest_file
from trackyard.evaluate.records import Sample
from trackyard.evaluate.store import Store
from trackyard.evaluate.sweep.configuration import Sweep
from trackyard.recipes.nine.results import write_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.answering import Cell, answer_cells
from trackyard.recipes.nine.sweeping.asked import Asked
from trackyard.recipes.nine.sweeping.opening import asked_tasks, kind_of_device, open_evaluated, open_sweep
from trackyard.recipes.nine.sweeping.scored import Scoring, put_out
from trackyard.recipes.parts import Part, alone, part_named, tell_if_empty
from trackyard.recipes.running.side_by_side import places, side_by_side

STAGE = "accuracy"
AGAIN = f"trackyard run nine {STAGE}"


def accuracy(study: Study, item: str | None, say: Callable[[str], None]) -> None:
    """Answer a part of everything, or all that is missing and put out the results.

    ConfigError for what is no part; TrackyardError while another process is at it; DataError where a store holds
    something else, or a sample is missing at the end.
    """
    started = time.monotonic()
    part = part_named(item, again=AGAIN)
    with alone(
        study.store, STAGE, part, what="the answers of this study", why="the same questions would be asked twice"
    ):
        sweep, tasks = open_sweep(study), asked_tasks(study)
        tell_if_empty(part, max((len(asked.ids) for asked in tasks.values()), default=0), say)
        at = places(study.parameters.threads)
        side_by_side(_Work(study, sweep, tasks, say), part.divided(len(at)), at)
        if item is not None:
            return
        folder = study.artifacts / STAGE
        if folder.exists():
            shutil.rmtree(folder)
        inputs = {study.sweep.relative_to(study.root).as_posix(): digest_file(study.sweep)}
        how, device = study.parameters.accuracy, kind_of_device()
        scoring = Scoring(
            model=sweep.evaluated.model,
            device=device,
            batch=how.batch,
            resamples=study.parameters.resamples,
            most_failed=how.most_failed,
            partial=study.parameters.partial,
            lineage=inputs | {"model": sweep.evaluated.model},
        )
        answers = failed = 0
        for _, cells in _grouped(study, sweep, tasks):
            for cell, store in cells:
                result = put_out(study.place(STAGE, cell.key, cell.asked.task.name), cell, store, scoring)
                answers, failed = answers + result.ok, failed + result.failed
        say(f"complete  {answers:,} answers of {len(sweep.keys)} configurations, {failed:,} questions failed")
        body = {"answers": answers, "failed": failed, "keys": list(sweep.keys)}
        wall_s = round(time.monotonic() - started, 3)
        header = study.header(STAGE, inputs=inputs, device=device, wall_s=wall_s, model=sweep.evaluated.model)
        write_result(study.document(STAGE), STAGE, header, body)


@dataclass(frozen=True, slots=True)
class _Work:
    """What one process does: its part of the questions of every task, under every configuration."""

    study: Study
    sweep: Sweep
    tasks: dict[str, Asked]
    say: Callable[[str], None]

    def __call__(self, part: Part) -> None:
        subject = open_evaluated(self.study)
        how = self.study.parameters.accuracy
        for label, cells in _grouped(self.study, self.sweep, self.tasks):
            started = time.monotonic()
            ids = part.of_list(cells[0][0].asked.ids)
            done = answer_cells(subject, cells, ids, batch=how.batch, chunk=how.chunk, label=part.name, retry=True)
            if done and part.number == 0:
                rate = done / (time.monotonic() - started)
                self.say(f"{label}: {done:,} answers in part {part.name}, {rate:,.0f} a second")


def _grouped(
    study: Study, sweep: Sweep, tasks: dict[str, Asked]
) -> Iterator[tuple[str, list[tuple[Cell, Store[Sample]]]]]:
    """The cells of each visual level and task, which share their prompts."""
    by_level = sorted(sweep.configurations.items(), key=lambda pair: (pair[1].visual is not None, pair[1].visual))
    for level, configurations in groupby(by_level, key=lambda pair: pair[1].visual):
        chosen = list(configurations)
        for name, of in tasks.items():
            cells = [Cell(key=key, document=sweep.document(key), configuration=c, asked=of) for key, c in chosen]
            stores = [(cell, cell.store(store_root(study), again=AGAIN)) for cell in cells]
            yield f"{name}, visual level {level}", stores


def store_root(study: Study) -> Path:
    """Below it answers are kept."""
    return study.store / STAGE

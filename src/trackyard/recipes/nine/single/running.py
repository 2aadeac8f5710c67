"""A model folder on the tasks that were asked for: everything is tried first, then answered, then put out.

Answers are appended to a store of one configuration on one task each, so that a killed run goes on where it was, and
any processes may share the work. Nothing is put out unless all of it is there. Source: nine-datasets spec sections 6
to 9.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from trackyard.digest import digest_file, digest_json
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.open_subject import folder_digest, open_subject
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.intervals import RESAMPLES
from trackyard.evaluate.records import Sample
from trackyard.evaluate.store import Store
from trackyard.evaluate.sweep.configuration import Configuration, Evaluated, key
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.layouts.opening import open_questions
from trackyard.recipes.nine.single.results import (
    ANSWERS,
    CLUSTERS,
    Evaluation,
    Model,
    TaskResult,
    require_same_model,
    write_evaluation,
)
from trackyard.recipes.nine.single.text_benchmarks import Benchmark, kept_result, open_benchmarks, run_benchmark
from trackyard.recipes.nine.single.trying import require_opens, try_once
from trackyard.recipes.nine.single.wanted import Wanted
from trackyard.recipes.nine.sweeping.answering import Cell, answer_cells
from trackyard.recipes.nine.sweeping.asked import Asked, asked
from trackyard.recipes.nine.sweeping.machine_notes import PREFIX, Notes, read_notes
from trackyard.recipes.nine.sweeping.planning import require_scorers
from trackyard.recipes.nine.sweeping.scored import SAMPLES, SHARES, Scoring, put_out
from trackyard.recipes.parts import Part, part_named
from trackyard.recipes.running.side_by_side import places, side_by_side
from trackyard.record.code import CodeIdentity, code_identity
from trackyard.runner import SystemRunner
from trackyard.sealed import write_sealed

Say = Callable[[str], None]
CHUNK = 256
"""Questions whose prompts are held in memory, and whose answers are put on disk together."""
CLUSTERS_SCHEMA = "trackyard-clusters/1"
FEWEST = 2
"""Questions that an interval is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    """All that is resolved before a model is loaded. cells: by task, with where their answers are kept."""

    wanted: Wanted
    model: Model
    code: CodeIdentity
    cells: Mapping[str, tuple[Cell, Store[Sample]]]
    benchmarks: Mapping[str, Benchmark]


def evaluate(wanted: Wanted, part: str | None, *, collect: bool, say: Say) -> Evaluation | None:
    """Answer everything that is missing and put out the results; of a part K/N only the answers, and None.

    collect: answer nothing, put out what other processes answered. ConfigError for what cannot be asked, DataError
    where something is not whole, failed, or missing in the end, EnvironmentLacking for programs and items that are not
    there.
    """
    if collect and part is not None:
        raise ConfigError(
            what=f"--collect with --shard {part}",
            why="results are of all parts together",
            fix=f"{wanted.again} --collect",
        )
    piece = part_named(part, again=wanted.again)
    opened = _open(wanted)
    if not collect:
        at = places(len(os.sched_getaffinity(0)))
        side_by_side(partial(_answer, opened, say), piece.divided(len(at)), at)
        for benchmark in piece.of_list(list(opened.benchmarks.values())):
            run_benchmark(wanted, benchmark, say)
    if part is not None:
        say(f"part {part} is done; when all parts are: {wanted.again} --collect")
        return None
    tasks = {name: _put_out(opened, cell, store) for name, (cell, store) in opened.cells.items()}
    tasks |= {name: _complete(wanted, benchmark) for name, benchmark in opened.benchmarks.items()}
    in_order = {name: tasks[name] for name in wanted.chosen}
    return write_evaluation(wanted.out, opened.model, in_order, not_measured=wanted.not_measured, code=opened.code)


def _open(wanted: Wanted) -> _Opened:
    require_opens(wanted.folder)
    code = code_identity(wanted.root, SystemRunner())
    model = Model(
        name=wanted.folder.absolute().name,
        digest=folder_digest(wanted.folder),
        precision=wanted.precision,
        visual=wanted.visual,
    )
    require_same_model(wanted.out, model)
    questions = {name: _asked(wanted, task) for name, task in wanted.answered.items()}
    require_scorers(questions)
    benchmarks = open_benchmarks(wanted, model.digest)
    cells = {name: _cell(model, of) for name, of in questions.items()}
    return _Opened(
        wanted=wanted,
        model=model,
        code=code,
        cells={name: (cell, cell.store(wanted.out / ANSWERS, again=wanted.again)) for name, cell in cells.items()},
        benchmarks=benchmarks,
    )


def _asked(wanted: Wanted, task: Task) -> Asked:
    """The questions of a task: as many as were asked for. ConfigError where there are fewer."""
    questions = open_questions(task, wanted.questions_of(task))
    number = wanted.numbers.get(task.name)
    if (number is not None and number > len(questions)) or len(questions) < FEWEST:
        raise ConfigError(
            what=f"{number or FEWEST:,} questions of {task.name}, which has {len(questions):,}",
            why="a score over fewer than were asked for would not be the one that was meant",
            fix=f"--samples {task.name}={len(questions)}, or without it" if number else "name data with more questions",
        )
    limit = min(wanted.limit, len(questions)) if number is None and wanted.limit is not None else number
    if limit is not None and limit < FEWEST:
        raise ConfigError(
            what=f"{limit} question of {task.name}",
            why="the spread between questions, which an interval states, needs at least two",
            fix=f"--samples {task.name}={FEWEST}, or more",
        )
    return asked(task, questions, limit=limit, seed=0)


def _cell(model: Model, of: Asked) -> Cell:
    """The key is of the model and this task alone: what was answered stays when other tasks are added."""
    configuration = Configuration(visual=model.visual)
    evaluated = Evaluated(
        model=model.digest,
        processor={},
        precision=model.precision,
        prompts=digest_json({of.task.name: of.task.digest}),
    )
    document = evaluated.document(configuration)
    return Cell(key=key(document), document=document, configuration=configuration, asked=of)


def _answer(opened: _Opened, say: Say, part: Part) -> None:
    """What one process does: its part of the questions of every task, on the device that it sees."""
    wanted = opened.wanted
    ids = {name: part.of_list(cell.asked.ids) for name, (cell, _) in opened.cells.items()}
    if not any(store.missing(ids[name], failed=True) for name, (_, store) in opened.cells.items()):
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    subject: Subject = open_subject(wanted.folder, device=device, precision=wanted.precision)
    try_once(subject, [cell for cell, _ in opened.cells.values()])
    Notes.begin(wanted.out / ANSWERS, subject.model)
    for name, (cell, store) in opened.cells.items():
        started = time.monotonic()
        done = answer_cells(
            subject, [(cell, store)], ids[name], batch=wanted.batch, chunk=CHUNK, label=part.name, retry=True
        )
        if done:
            say(f"{name}: {done:,} answers in part {part.name}, {done / (time.monotonic() - started):,.1f} a second")


def _put_out(opened: _Opened, cell: Cell, store: Store[Sample]) -> TaskResult:
    wanted, task = opened.wanted, cell.asked.task
    folder = wanted.out / task.name
    scoring = Scoring(
        model=opened.model.digest,
        device=_devices(wanted.out / ANSWERS),
        batch=wanted.batch,
        resamples=RESAMPLES,
        partial=wanted.partial,
        lineage={"questions": cell.asked.questions.digest, "task": task.digest},
    )
    found = put_out(folder, cell, store, scoring)
    return TaskResult(
        layout=task.layout,
        asked=cell.asked.digest,
        metric=task.metric,
        metrics=found.metric,
        expected=found.expected,
        ok=found.ok,
        failed=found.failed,
        cap_rate=found.cap_rate,
        unparsed_rate=found.unparsed_rate,
        new_tokens=task.new_tokens,
        files={name: digest_file(folder / name) for name in (SAMPLES, SHARES, *_clusters(folder, cell))},
        watermark=found.watermark,
    )


def _devices(answers: Path) -> str:
    """Names of what answered, in however many processes: this one may only collect."""
    notes = read_notes(answers) if any(answers.glob(f"{PREFIX}*")) else []
    return ", ".join(sorted({note.circumstances.device for note in notes}))


def _clusters(folder: Path, cell: Cell) -> tuple[str, ...]:
    """The name of the file that says which questions are drawn together; none where each stands alone."""
    labels = {name: cell.asked.bare(name).drawn_with for name in cell.asked.ids}
    if len(set(labels.values())) == len(labels):
        return ()
    write_sealed(folder / CLUSTERS, CLUSTERS_SCHEMA, {"clusters": labels})
    return (CLUSTERS,)


def _complete(wanted: Wanted, benchmark: Benchmark) -> TaskResult:
    found = kept_result(wanted.out, benchmark)
    if found is None:
        raise DataError(
            what=f"{benchmark.task.name} is not there",
            why="a part that ends before its time leaves its benchmarks out",
            fix=wanted.again,
        )
    return found

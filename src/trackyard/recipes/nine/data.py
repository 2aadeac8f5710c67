"""The stage that brings the questions: data sets staged with their images inside, proved, and every task listed.

Source: nine-datasets spec sections 1 to 3.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence

from trackyard.acquire.staging.plan import plan_staging
from trackyard.acquire.staging.proof import StagedReport
from trackyard.acquire.staging.prove import prove_staged
from trackyard.acquire.staging.sync import run_sync
from trackyard.catalog.entries import Entry, load_catalogue
from trackyard.catalog.selection import closure, select
from trackyard.errors import DataError
from trackyard.recipes.nine.parameters import FixtureParameters
from trackyard.recipes.nine.results import write_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.opening import asked_tasks

STAGE = "data"
CATALOGUE = "catalog"
TRAINING = 4
"""Training questions in the splits of the miniature that staging leaves behind."""


def data(study: Study, say: Callable[[str], None]) -> None:
    """Make the miniature and stage it, or prove the staged copy that is named; then list what is asked.

    DataError for whatever of it is not whole, or a task with other questions than it states.
    """
    started = time.monotonic()
    folder = study.document(STAGE).parent
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    fixture = study.parameters.data.fixture
    report = _named(study) if fixture is None else _made(study, fixture, say)
    if not report.ok:
        first = report.problems[0] if report.problems else None
        raise DataError(
            what=f"{report.at.staged}: {len(report.problems)} problems, {report.examined:,} objects examined"
            + (f"; the first: {first.what}" if first else ""),
            why="scores over data that are not whole are not scores of the data sets",
            fix=first.fix if first else "trackyard data sync nine --from A --to B",
        )
    say(f"staged    {report.examined:,} objects of {len(report.proofs)} entries proved in {report.at.staged}")
    tasks = {}
    for name, of in asked_tasks(study).items():
        tasks[name] = {"asked": len(of.ids), "questions": len(of.questions), "digest": of.digest}
        say(f"{name:16} {len(of.ids):>9,} of {len(of.questions):,} questions")
    header = study.header(STAGE, inputs={}, device="cpu", wall_s=round(time.monotonic() - started, 3))
    write_result(study.document(STAGE), STAGE, header, {"examined": report.examined, "tasks": tasks})


def _made(study: Study, fixture: FixtureParameters, say: Callable[[str], None]) -> StagedReport:
    """The miniature in the real layouts, moved by the project's own staging; what it was moved from is gone then."""
    from trackyard.recipes.nine.fixture.making import make_fixture

    source, target = study.document(STAGE).parent / "source", study.staging
    made = make_fixture(source, seed=fixture.seed, train=TRAINING, evaluated=fixture.evaluated)
    entries = made.entries(load_catalogue(study.root / CATALOGUE))
    report = run_sync(plan_staging(entries, made.roots, target))
    shutil.rmtree(source)
    say(f"made      {sum(made.questions.values()):,} questions in the nine layouts, {report.after_files} files staged")
    return prove_staged(entries, target, all=True)


def _named(study: Study) -> StagedReport:
    """What was staged before, of the tasks that are read from there."""
    wanted = [task.entry for task in study.tasks.values() if task.name not in study.parameters.data.folders]
    return prove_staged(_entries(study, sorted({entry for entry in wanted if entry})), study.staging)


def _entries(study: Study, names: Sequence[str]) -> tuple[Entry, ...]:
    catalogue = load_catalogue(study.root / CATALOGUE)
    return closure(catalogue, select(catalogue, names))

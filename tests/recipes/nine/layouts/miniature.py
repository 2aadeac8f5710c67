"""The miniature of the nine data sets, made and staged by the project's own code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.staging.plan import plan_staging
from trackyard.acquire.staging.roots import Roots
from trackyard.acquire.staging.sync import run_sync
from trackyard.catalog.entries import load_catalogue
from trackyard.evaluate.tasks.registry import load_tasks
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.fixture.making import Fixture, make_fixture

ROOT = Path(__file__).parents[4]
EVALUATED = 12
SMALL = 20_000
"""Bytes of a shard: several shards to an entry."""


@dataclass(frozen=True)
class Staged:
    """made: the tree that was staged. folder: of the staged entries. tasks: with the numbers of the tree."""

    made: Fixture
    folder: Path
    tasks: dict[str, Task]


def stage_miniature(place: Path) -> Staged:
    """Make the tree below `place`, stage it beside it, and give the tasks the numbers of the tree."""
    made = make_fixture(place / "source", seed=3, train=4, evaluated=EVALUATED)
    catalogue = load_catalogue(ROOT / "catalog")
    target = Roots.below(place / "target")
    (place / "target").mkdir()
    plan = plan_staging(made.entries(catalogue), made.roots, target)
    assert plan.complete, plan.problems
    assert run_sync(plan, relocate="embed", shard_bytes=SMALL).ok
    tasks = {
        name: task.model_copy(update={"samples": made.questions[task.entry]})
        for name, task in load_tasks(ROOT / "tasks", catalogue).items()
        if task.entry is not None and task.entry in made.questions
    }
    return Staged(made=made, folder=target.staged, tasks=tasks)

"""Killed at any moment, a run continues to the bits of one that was never interrupted (reliability F1)."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.repository import STEPS, Repository, Running, spooled, stored_points
from trackyard.digest import digest_file
from trackyard.durable import TEMPORARY
from trackyard.recipes.molmo2.outcome import stage_metrics
from trackyard.record.rundir import open_existing
from trackyard.train.checkpoint import complete_checkpoints, verify_checkpoint

pytestmark = pytest.mark.system

SEED = 20261121
KILLS = ("first step", "new checkpoint", "checkpoint being written", "first step", "new checkpoint", "final weights")
"""What is waited for before each kill; all but the writing of a checkpoint are followed by a random delay."""
LONGEST_DELAY_S = 0.3


@pytest.fixture(scope="module")
def killed(after_stage1: Repository, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, list[int]]:
    """A root whose stage 2 was killed six times and then ended; and the newest valid checkpoint after each kill."""
    repository = after_stage1.copy(tmp_path_factory.mktemp("killed") / "root")
    moments = random.Random(SEED)
    newest = []
    for kill in KILLS:
        with repository.started("run", "molmo2", "stage2") as running:
            _wait_for(kill, running, repository)
            if kill != "checkpoint being written":
                time.sleep(moments.uniform(0.0, LONGEST_DELAY_S))
            running.kill()
            assert running.process.returncode == -9, running.end()
        newest.append(_newest_valid(repository))
    ended = repository.tracked.stage2()
    assert ended.code == 0, ended
    return repository, newest


def _wait_for(kill: str, running: Running, repository: Repository) -> None:
    def at_final() -> bool:
        return any(repository.path.glob("runs/molmo2/stage2/*/final"))

    def checkpoints() -> int:
        return max((int(path.parent.name[5:]) for path in repository.path.glob(marker)), default=0)

    marker = "runs/molmo2/stage2/*/checkpoints/step-*/COMPLETE"
    before = checkpoints()
    moments: dict[str, Callable[[], object]] = {
        "first step": lambda: "\ntrain " in running.out,
        "new checkpoint": lambda: checkpoints() > before,
        "checkpoint being written": lambda: any(
            repository.path.glob(f"runs/molmo2/stage2/*/checkpoints/{TEMPORARY}step-*")
        ),
        "final weights": at_final,
    }
    running.wait_for(lambda: moments[kill]() or at_final(), kill)


def _newest_valid(repository: Repository) -> int:
    """Every checkpoint with its marker is proved; returns the step of the newest, 0 if there is none."""
    run = open_existing(repository.run_directory())
    identity = {"run_id": run.spec.run_id, "plan": run.spec.plan}
    found = complete_checkpoints(run.checkpoints)
    for path in found:
        verify_checkpoint(path, identity)
    return int(found[-1].name[5:]) if found else 0


def test_the_weights_are_bit_equal_to_those_of_an_uninterrupted_run(
    killed: tuple[Repository, list[int]], uninterrupted: Repository
) -> None:
    repository, _ = killed
    ours, theirs = repository.run_directory(), uninterrupted.run_directory()
    assert ours.name == theirs.name
    weights = "final/model.safetensors"
    assert digest_file(ours / weights) == digest_file(theirs / weights)
    start = repository.path / "artifacts" / "molmo2" / "stage1" / "export" / "model.safetensors"
    assert digest_file(ours / weights) != digest_file(start), "nothing was trained, so equality would prove nothing"


def test_scores_and_curve_are_those_of_an_uninterrupted_run(
    killed: tuple[Repository, list[int]], uninterrupted: Repository
) -> None:
    for name in ("metrics.json", "curves.csv"):
        result = Path("artifacts") / "molmo2" / "stage2" / name
        assert (killed[0].path / result).read_bytes() == (uninterrupted.path / result).read_bytes()
    assert spooled(killed[0].run_directory()) == spooled(uninterrupted.run_directory())


def test_the_kills_hit_training_and_a_proved_checkpoint_was_never_lost(killed: tuple[Repository, list[int]]) -> None:
    _, newest = killed
    assert newest == sorted(newest)
    assert sum(step < STEPS for step in newest) >= 3, f"too few kills hit training: {newest}"
    assert newest[-1] == STEPS


def test_nothing_torn_or_orphaned_is_left(killed: tuple[Repository, list[int]]) -> None:
    repository, _ = killed
    left = list(repository.run_directory().rglob(f"{TEMPORARY}*"))
    left += list((repository.path / "artifacts").glob(f"molmo2/**/{TEMPORARY}*"))
    assert left == []
    folders = sorted((repository.run_directory() / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == [f"step-{step:08d}" for step in repository.checkpoints()]
    # Two are kept, and the one that the last attempt resumed from is spared.
    assert len(folders) <= 3
    assert _newest_valid(repository) == STEPS


def test_every_attempt_but_the_last_left_a_trace(killed: tuple[Repository, list[int]]) -> None:
    repository, _ = killed
    run = open_existing(repository.run_directory())
    # One more for the scores, which are spooled when everything is done.
    assert [attempt.number for attempt in run.attempts()] == list(range(1, len(KILLS) + 3))
    assert "resumed from" in run.log.read_text()


def test_mlflow_has_each_point_exactly_once(killed: tuple[Repository, list[int]]) -> None:
    repository = killed[0]
    again = repository.tracked.trackyard("record", "sync")
    assert again.code == 0, again
    assert "0 points of 1 of 1 runs delivered" in again.out
    points = stored_points(repository.path / "mlflow.db", repository.run_directory().name)
    steps = [step for key, step, _ in points if key == "train/loss"]
    assert sorted(steps) == list(range(1, STEPS + 1))
    assert len({(key, step) for key, step, _ in points}) == len(points)
    curve = spooled(repository.run_directory())
    ended = stage_metrics(json.loads((repository.run_directory() / "result.json").read_text()))
    assert {(key, step, value) for key, step, value in points if key.startswith("train/")} == {
        (key, step, value) for step, values in curve.items() for key, value in values.items()
    } | {(key, STEPS, value) for key, value in ended.items() if key.startswith("train/") and key != "train/loss"}

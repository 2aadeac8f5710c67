"""The number of processes changes nothing that is learned: same examples, same order, same losses (reliability F13)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.processes import all_end, is_alive
from tests.system.repository import COMMIT, LIMIT_S, PACKS, STEPS, Repository, spooled
from trackyard.plan.plan import PlannedRow

pytestmark = pytest.mark.system

TOLERANCE = 1e-4
"""Largest difference of a step's loss: two processes sum in another order."""
GRACE_S = 120.0
"""What a cluster gives between its signal and SIGKILL; half of it must do (F12)."""


def test_the_ranks_together_hold_each_step_of_the_plan_once(
    after_stage1: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and rows of rank 0 and 1 of two, side by side, are those of the one process."""
    from trackyard.feed.steps import PlanFeed, StepFeed
    from trackyard.recipes.molmo2.parameters import load_molmo2
    from trackyard.recipes.molmo2.prepare import prepare

    monkeypatch.setenv("TRACKYARD_COMMIT", COMMIT)
    prepared = prepare(load_molmo2(after_stage1.path / "params.yaml"), "stage2", after_stage1.path)
    plan = prepared.plan

    def step(number: int, rank: int, world: int) -> StepFeed:
        feed = PlanFeed(
            plan, prepared.datasets, prepared.feed, prepared.start.tokens, rank=rank, world=world, micro_batch=1
        )
        return feed.step(number)

    def tokens(feed: StepFeed) -> list[bytes]:
        return [np.ascontiguousarray(batch.input_ids).tobytes() for batch in feed.batches]

    order: list[PlannedRow] = []
    for number in range(plan.steps):
        whole = step(number, 0, 1)
        assert whole.rows == [row for slot in range(PACKS) for row in plan.pack(number, slot)]
        halves = [step(number, rank, 2) for rank in (0, 1)]
        for rank, half in enumerate(halves):
            assert half.rows == [row for slot in range(rank, PACKS, 2) for row in plan.pack(number, slot)]
            assert tokens(half) == tokens(whole)[rank::2]
        assert tokens(halves[0]) != tokens(halves[1]), "both ranks hold the same packs"
        assert sum(half.weight for half in halves) == pytest.approx(whole.weight)
        order += whole.rows
    assert len(order) == plan.summary["totals"]["rows"]


def test_two_processes_stopped_by_a_signal_end_as_one_process_does(
    after_stage1: Repository, uninterrupted: Repository, tmp_path: Path
) -> None:
    repository = after_stage1.copy(tmp_path / "root")
    with repository.started("run", "molmo2", "stage2", "--processes", "2") as running:
        # The first sign of a checkpoint: it is being written, or has just been.
        running.wait_for(lambda: any(repository.path.glob("runs/molmo2/stage2/*/checkpoints/*")), "a save")
        asked = time.monotonic()
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
            running.send(number)
        ended = running.end()
        assert time.monotonic() - asked < GRACE_S / 2
    parts = ended.error(75, "StoppedEarly")
    # Two signals that wait at once have no order.
    assert parts["what"] in ("stopped by SIGUSR1", "stopped by SIGTERM")
    (stopped_at,) = repository.checkpoints()[-1:]
    assert 1 <= stopped_at < STEPS
    continued = repository.trackyard("run", "molmo2", "stage2", "--processes", "2")
    assert continued.code == 0, continued
    _same_losses(repository, uninterrupted)


def test_a_killed_rank_ends_all_and_the_others_say_where_they_stood(after_stage1: Repository, tmp_path: Path) -> None:
    """One rank of two dies (reliability F26)."""
    repository = after_stage1.copy(tmp_path / "root")
    with repository.started("run", "molmo2", "stage2", "--processes", "2") as running:
        running.wait_for_line("train ")
        ranks = _children(running.process.pid)
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        ended = running.end()
    assert ended.code == 1, ended
    assert "Traceback" not in ended.err
    assert "rank 0: TrackyardError\nwhat: a collective failed: " in ended.err
    assert "the processes of attempt" in ended.err
    assert "ended with 1, -9 and without final weights" in ended.err
    run = repository.run_directory()
    told, silent = sorted((run / "stacks").iterdir())
    assert (told.name[-10:], silent.name[-10:]) == ("rank-0.txt", "rank-1.txt")
    assert "most recent call" in told.read_text()
    assert "training.py" in told.read_text()
    assert silent.read_text() == "", "a killed process writes nothing"
    assert told.name in ended.err
    assert silent.name not in ended.err


def test_from_two_processes_to_one_after_a_kill(
    after_stage1: Repository, uninterrupted: Repository, tmp_path: Path
) -> None:
    repository = after_stage1.copy(tmp_path / "root")
    with repository.started("run", "molmo2", "stage2", "--processes", "2") as running:
        running.wait_for(
            lambda: any(repository.path.glob("runs/molmo2/stage2/*/checkpoints/step-*/COMPLETE")), "a checkpoint"
        )
        ranks = _children(running.process.pid)
        assert len(ranks) == 2
        running.kill()
    _wait_until_gone(ranks)
    before = repository.checkpoints()[-1]
    assert before < STEPS
    continued = repository.stage2()
    assert continued.code == 0, continued
    assert f"train     step {before + 1}/{STEPS}" in continued.out
    _same_losses(repository, uninterrupted)


def _same_losses(repository: Repository, reference: Repository) -> None:
    """Every step once, with as many tokens and within the tolerance of the same loss; and the same run."""
    run, other = repository.run_directory(), reference.run_directory()
    assert run.name == other.name
    found, expected = spooled(run, exact=False), spooled(other)
    assert sorted(found) == sorted(expected) == list(range(1, STEPS + 1))
    for step, values in expected.items():
        assert found[step]["train/step_tokens"] == values["train/step_tokens"]
        assert found[step]["train/loss"] == pytest.approx(values["train/loss"], abs=TOLERANCE)
    assert abs(expected[1]["train/loss"] - expected[2]["train/loss"]) > TOLERANCE, "the tolerance hides another order"


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_until_gone(ranks: list[int]) -> None:
    """Ranks whose parent was killed end on their own: they would write into a run that is locked no more."""
    if not all_end(ranks, within_s=LIMIT_S):
        left = [pid for pid in ranks if is_alive(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"ranks {left} outlived their parent")

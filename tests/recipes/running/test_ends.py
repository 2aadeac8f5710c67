"""How a stage that did not come to its end says so, and with which exit code."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.recipes.running.tiny_job import AGAIN, TinyJob
from trackyard.errors import EXIT_FAILED, EXIT_STOPPED_EARLY
from trackyard.recipes.running.ends import nothing_done, stopped, without_final
from trackyard.recipes.running.training import FINAL
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool
from trackyard.runner import Together
from trackyard.train.checkpoint import COMPLETE, directory_name

KILLED = Together(codes=(1, -signal.SIGKILL), stopped_by=None)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    job = TinyJob(root=tmp_path)
    return open_or_create(job.root / "runs", job.spec)


def checkpoint(directory: RunDirectory, *, complete: bool = True) -> None:
    path = directory.checkpoints / directory_name(4)
    path.mkdir()
    if complete:
        (path / COMPLETE).touch()


def test_75_means_that_there_is_something_to_go_on_from(directory: RunDirectory) -> None:
    assert nothing_done(AGAIN, "SIGTERM").exit_code == EXIT_FAILED
    early = stopped(directory, AGAIN, "SIGTERM")
    assert early.exit_code == EXIT_FAILED
    assert early.fix == f"{AGAIN}   (it starts at the first step)"
    checkpoint(directory, complete=False)
    assert stopped(directory, AGAIN, "SIGTERM").exit_code == EXIT_FAILED
    (directory.checkpoints / directory_name(4) / COMPLETE).touch()
    late = stopped(directory, AGAIN, "SIGTERM")
    assert late.exit_code == EXIT_STOPPED_EARLY
    assert (late.what, late.fix) == ("stopped by SIGTERM", AGAIN)


def test_final_weights_are_something_to_go_on_from(directory: RunDirectory) -> None:
    (directory.path / FINAL).mkdir()
    assert stopped(directory, AGAIN, "SIGTERM").exit_code == EXIT_STOPPED_EARLY


def test_ranks_that_stopped_as_asked_have_not_failed(directory: RunDirectory) -> None:
    attempt = directory.new_attempt()
    with Spool(directory.spool, attempt) as spool:
        spool.status("stopped")
    checkpoint(directory)
    found = without_final(directory, AGAIN, attempt, KILLED)
    assert found.exit_code == EXIT_STOPPED_EARLY
    assert found.what == "stopped by a signal to its ranks, or the end of their time"


@pytest.mark.parametrize("told", [True, False])
def test_ranks_that_failed_are_named_with_their_stacks(directory: RunDirectory, told: bool) -> None:
    """A rank that was killed before it opened its spool has told nothing."""
    attempt = directory.new_attempt()
    if told:
        with Spool(directory.spool, attempt) as spool:
            spool.status("failed")
    stacks = directory.path / "stacks"
    stacks.mkdir()
    (stacks / "attempt-0001-rank-0.txt").write_text("where it was")
    (stacks / "attempt-0001-rank-1.txt").touch()
    (stacks / "attempt-0002-rank-1.txt").write_text("of another attempt")
    checkpoint(directory)
    found = without_final(directory, AGAIN, attempt, KILLED)
    assert found.exit_code == EXIT_FAILED
    assert found.what == "the processes of attempt 1 ended with 1, -9 and without final weights"
    assert found.why.endswith(f"where each rank was in {stacks}: attempt-0001-rank-0.txt")

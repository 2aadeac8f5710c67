"""How a stage that did not come to its end says so, and with which exit code."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.recipes.running.tiny_job import AGAIN, TinyJob
from trackyard.errors import (
    EXIT_FAILED,
    EXIT_STOPPED_EARLY,
    DataError,
    EnvironmentLacking,
    StoppedEarly,
    TrackyardError,
)
from trackyard.launch.jobs.verdict import verdict
from trackyard.launch.signals import TIME_IS_UP
from trackyard.recipes.running.ends import RANKS_STOPPED, end_told, nothing_done, stopped, without_final
from trackyard.recipes.running.training import FINAL
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool, Status, read_spool
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
    early = stopped(directory, AGAIN, "SIGTERM")
    assert early.exit_code == 143
    assert early.fix == f"{AGAIN}   (it starts at the first step)"
    checkpoint(directory, complete=False)
    assert stopped(directory, AGAIN, "SIGTERM").exit_code == 143
    (directory.checkpoints / directory_name(4) / COMPLETE).touch()
    late = stopped(directory, AGAIN, "SIGTERM")
    assert late.exit_code == EXIT_STOPPED_EARLY
    assert (late.what, late.fix) == ("stopped by SIGTERM", AGAIN)


@pytest.mark.parametrize(
    ("reason", "code"),
    [("SIGTERM", 143), ("SIGUSR1", 138), (TIME_IS_UP, 138), (RANKS_STOPPED, 138)],
)
def test_what_was_cut_before_it_could_save_ends_as_if_the_signal_had_killed_it(
    directory: RunDirectory, reason: str, code: int
) -> None:
    """A job of Slurm is then put back into the queue, where an exit code of 1 would end it and all that wait for it."""
    ends = [stopped(directory, AGAIN, reason)]
    if reason != RANKS_STOPPED:
        ends.append(nothing_done(AGAIN, reason))
    for end in ends:
        assert end.exit_code == code
        found = verdict(
            exit_code=end.exit_code, told_to_end=False, progressed=False, stalled_before=False, life=1, lives=5
        )
        assert found.next == "requeue"


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


def states(directory: RunDirectory) -> list[str]:
    """What attempts said of their end, oldest first."""
    paths = sorted(directory.spool.glob("attempt-*.jsonl"))
    return [event["state"] for path in paths for _, event in read_spool(path).events if event["event"] == "status"]


def early() -> StoppedEarly:
    return StoppedEarly(what="stopped by SIGTERM", why="", fix="")


def broken() -> DataError:
    return DataError(what="the error of the stage", why="", fix="")


def end(directory: RunDirectory, error: Exception, told: Status | None) -> None:
    """A stage whose training has told `told`, or was killed before it did, ends with `error`."""
    with end_told(directory):
        with Spool(directory.spool, directory.new_attempt()) as spool:
            spool.metrics({"train/loss": 1.0}, 1)
            if told is not None:
                spool.status(told)
        raise error


@pytest.mark.parametrize(("error", "told"), [(early(), "stopped"), (broken(), "failed"), (OSError(), "failed")])
def test_an_end_outside_of_training_is_told(directory: RunDirectory, error: Exception, told: str) -> None:
    """The last word of an earlier attempt does not count for this one."""
    with Spool(directory.spool, directory.new_attempt()) as spool:
        spool.status("failed" if told == "stopped" else "stopped")
    with pytest.raises(type(error)):
        end(directory, error, None)
    assert states(directory)[1:] == [told]


@pytest.mark.parametrize("told", ["failed", "stopped"])
def test_what_training_told_stands(directory: RunDirectory, told: Status) -> None:
    with pytest.raises(TrackyardError):
        end(directory, early(), told)
    assert states(directory) == [told]


def test_a_run_that_was_called_finished_and_has_no_result_has_failed(directory: RunDirectory) -> None:
    with pytest.raises(OSError, match="no space left"):
        end(directory, OSError("no space left"), "finished")
    assert states(directory) == ["finished", "failed"]


def test_of_a_run_with_a_result_nothing_more_is_told(directory: RunDirectory) -> None:
    directory.result.write_text("{}")
    with pytest.raises(DataError):
        end(directory, broken(), "finished")
    assert states(directory) == ["finished"]


def test_an_end_that_cannot_be_told_hides_no_error(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_directory: RunDirectory) -> None:
        raise EnvironmentLacking(what="nothing can be written", why="", fix="")

    monkeypatch.setattr(RunDirectory, "new_attempt", full)
    with pytest.raises(DataError, match="the error of the stage"), end_told(directory):
        raise broken()
    assert "has failed: nothing can be written" in caplog.text

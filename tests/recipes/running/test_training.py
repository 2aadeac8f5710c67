"""Training of a job that is no track's: its end, its restarts, devices that are too small, going back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.recipes.running.tiny_job import TinyJob, equal, final_weights
from tests.train.test_loop import STEPS
from trackyard.errors import CheckpointError, StoppedEarly
from trackyard.recipes.running.fitting import DOCUMENT, OutOfDeviceMemory, changes
from trackyard.recipes.running.training import FINAL, train
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import read_spool
from trackyard.train.parameters import EngineParameters
from trackyard.train.rollback import read_rollbacks

pytestmark = pytest.mark.usefixtures("one_rank")


def run(job: TinyJob, stop_after: int | None = None) -> RunDirectory:
    directory = open_or_create(job.root / "runs", job.spec)
    done = 0

    def progress(steps: int) -> None:
        nonlocal done
        done = steps

    train(
        job,
        directory,
        directory.new_attempt(),
        should_stop=lambda: done == stop_after,
        progress=progress,
        say=lambda line: None,
    )
    return directory


def states(directory: RunDirectory) -> list[list[str]]:
    """What each attempt said of its end."""
    return [
        [event["state"] for _, event in read_spool(path).events if event["event"] == "status"]
        for path in sorted(directory.spool.glob("attempt-*.jsonl"))
    ]


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    whole = run(TinyJob(root=tmp_path / "whole"))
    job = TinyJob(root=tmp_path / "stopped")
    for step in (5, 14):
        with pytest.raises(StoppedEarly, match=f"after step {step} of {STEPS}") as stopped:
            run(job, stop_after=step)
        assert stopped.value.fix == job.again
    resumed = run(job)
    assert equal(final_weights(whole.path), final_weights(resumed.path))
    assert states(resumed) == [["stopped"], ["stopped"], []]
    other = run(TinyJob(root=tmp_path / "other", seed=1))
    assert not equal(final_weights(whole.path), final_weights(other.path)), "the seed counts"


def test_a_device_that_is_too_small_is_given_less_until_it_fits(tmp_path: Path) -> None:
    job = TinyJob(root=tmp_path, tight=True, engine=EngineParameters(micro_batch=2, fit=True))
    directory = run(job)
    assert [settings.micro_batch for settings in job.built] == [2, 1]
    assert changes(directory.path) == ["micro_batch 2 -> 1"]
    again = replace(job, built=[])
    run(again)
    assert [settings.micro_batch for settings in again.built] == [1], "found out once"


def test_without_fitting_the_first_change_is_proposed(tmp_path: Path) -> None:
    job = TinyJob(root=tmp_path, tight=True)
    with pytest.raises(OutOfDeviceMemory) as error:
        run(job)
    assert "micro_batch 2 -> 1" in error.value.fix
    directory = open_or_create(job.root / "runs", job.spec)
    assert not (directory.path / DOCUMENT).exists()
    assert states(directory) == [["failed"]]


def test_whatever_ends_training_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost peer is a plain RuntimeError of its library, which gets our words further out."""

    def lose(job: TinyJob, *_: object) -> None:
        raise RuntimeError("[gloo/transport] Connection closed by peer")

    monkeypatch.setattr(TinyJob, "share", lose)
    job = TinyJob(root=tmp_path)
    with pytest.raises(RuntimeError, match="closed by peer"):
        run(job)
    assert states(open_or_create(job.root / "runs", job.spec)) == [["failed"]]


def test_after_a_rollback_the_engine_is_built_anew(tmp_path: Path) -> None:
    job = TinyJob(root=tmp_path, poisoned=(17, 18, 19))
    directory = run(job)
    assert len(job.built) == 2
    (back,) = read_rollbacks(directory.path)
    assert back.checkpoint == 16
    assert (directory.path / FINAL).exists()


def test_final_weights_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    job = TinyJob(root=tmp_path, readonly=True)
    with pytest.raises(CheckpointError, match="could not be written: no space left"):
        run(job)
    directory = run(replace(job, readonly=False))
    assert final_weights(directory.path)

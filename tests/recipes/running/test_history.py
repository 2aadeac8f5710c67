"""What a result says of the steps of its run: nothing where something of them is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.running.tiny_job import AGAIN, TinyJob
from trackyard.digest import digest_bytes
from trackyard.errors import CheckpointError, DataError
from trackyard.recipes.running.history import last_checkpoint, spooled_steps
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool
from trackyard.train.checkpoint import COMPLETE, MANIFEST, directory_name


@pytest.fixture
def job(tmp_path: Path) -> TinyJob:
    return TinyJob(root=tmp_path)


@pytest.fixture
def directory(job: TinyJob) -> RunDirectory:
    return open_or_create(job.root / "runs", job.spec)


def spooled(directory: RunDirectory, steps: range, loss: float) -> None:
    with Spool(directory.spool, directory.new_attempt()) as spool:
        for step in steps:
            spool.metrics({"train/skipped": 0.0, "train/loss": loss}, step)


def test_of_a_step_that_was_repeated_the_last_word_counts(job: TinyJob, directory: RunDirectory) -> None:
    spooled(directory, range(1, 10), 2.0)
    spooled(directory, range(9, job.steps + 1), 1.0)
    with Spool(directory.spool, directory.new_attempt()) as spool:
        spool.metrics({"validation/loss": 3.0}, job.steps)
    found, resumes = spooled_steps(job, directory)
    assert list(found) == list(range(1, job.steps + 1))
    assert [values["train/loss"] for values in found.values()] == [2.0] * 8 + [1.0] * (job.steps - 8)
    assert resumes == [{"attempt": 2, "step": 8}]


def test_a_step_that_is_gone_is_an_error(job: TinyJob, directory: RunDirectory) -> None:
    spooled(directory, range(1, job.steps), 2.0)
    with pytest.raises(DataError, match=f"hold {job.steps - 1} of {job.steps} steps"):
        spooled_steps(job, directory)


def test_the_last_complete_checkpoint_is_named_by_its_manifest(job: TinyJob, directory: RunDirectory) -> None:
    with pytest.raises(CheckpointError, match="holds no complete checkpoint") as raised:
        last_checkpoint(job, directory)
    assert AGAIN in raised.value.fix
    for step in (4, 12, 16):
        path = directory.checkpoints / directory_name(step)
        path.mkdir()
        (path / MANIFEST).write_bytes(b"manifest of %d" % step)
        if step < 16:
            (path / COMPLETE).touch()
    path = directory.checkpoints / directory_name(12)
    assert last_checkpoint(job, directory) == {
        "path": path.relative_to(job.root).as_posix(),
        "digest": digest_bytes(b"manifest of 12"),
    }

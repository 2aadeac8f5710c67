"""A stage of a job that is no track's, in one process: what is done, in which order, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.recipes.running.tiny_job import AGAIN, TinyJob, equal, final_weights
from trackyard.errors import ConfigError, DataError, StoppedEarly, TrackyardError
from trackyard.launch.lock import run_lock
from trackyard.recipes.running.stage import Stage, run_training
from trackyard.record.comparing.summary import read_summary
from trackyard.record.rundir import RunDirectory
from trackyard.schema import write_document

pytestmark = pytest.mark.usefixtures("one_rank")


@dataclass
class Told:
    """A stage that notes what it is asked for."""

    job: TinyJob
    noted: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    check_world: Callable[[int], None] = lambda world: None
    broken: bool = False
    directory: RunDirectory | None = None

    def run(self) -> bool:
        described = Stage(
            again=AGAIN,
            engine=self.job.engine,
            processes=1,
            check_world=self.check_world,
            prove=self._prove,
            prepare=lambda: self.job,
            worker=("none", []),
            work=self._work,
            put_out=self._put_out,
        )
        return run_training(described, say=self.said.append)

    def _prove(self) -> TinyJob:
        self.noted.append("prove")
        return self.job

    def _work(self, job: TinyJob, directory: RunDirectory, train: Callable[[], None]) -> None:
        self.directory = directory
        self.noted.append("before")
        train()
        if self.broken:
            raise DataError(what="no validation rows", why="", fix="")
        self.noted.append("after")
        write_document(directory.result, "tiny/1", {"weights": sorted(final_weights(directory.path))})

    def _put_out(self, job: TinyJob, directory: RunDirectory) -> None:
        self.noted.append("put out")

    @property
    def path(self) -> Path:
        assert self.directory is not None
        return self.directory.path


def test_everything_is_done_once_and_put_out_each_time(tmp_path: Path) -> None:
    worlds: list[int] = []
    told = Told(TinyJob(root=tmp_path), check_world=worlds.append)
    assert told.run()
    assert told.noted == ["prove", "before", "after", "put out"]
    assert worlds == [1]
    assert told.said[0] == f"run       {told.job.spec.run_id} in runs/tiny/turn/{told.job.spec.run_id}"
    assert told.said[1].startswith("train     ")
    assert told.directory is not None
    assert told.directory.linked_plan() == told.job.plan_path
    before = final_weights(told.path)
    told.noted.clear()
    assert told.run()
    assert told.noted == ["prove", "put out"]
    assert equal(final_weights(told.path), before)


def test_a_stop_signal_saves_and_the_next_attempt_ends_alike(tmp_path: Path) -> None:
    whole = Told(TinyJob(root=tmp_path / "whole"))
    whole.run()
    told = Told(TinyJob(root=tmp_path / "stopped", stop_at=6))
    with pytest.raises(StoppedEarly) as stopped:
        told.run()
    assert stopped.value.fix == AGAIN
    assert not (told.path / "final").exists()
    told.job = replace(told.job, stop_at=None)
    told.run()
    assert told.noted == ["prove", "before", "prove", "before", "after", "put out"]
    assert equal(final_weights(told.path), final_weights(whole.path))


def test_weights_that_are_there_are_not_trained_again(tmp_path: Path) -> None:
    told = Told(TinyJob(root=tmp_path))
    told.run()
    (told.path / "result.json").unlink()
    built = len(told.job.built)
    told.run()
    assert len(told.job.built) == built
    assert told.noted[-3:] == ["before", "after", "put out"]


def test_a_run_that_fails_behind_its_training_has_failed_in_the_record(tmp_path: Path) -> None:
    told = Told(TinyJob(root=tmp_path), broken=True)
    with pytest.raises(DataError, match="no validation rows"):
        told.run()
    assert read_summary(told.path).status == "FAILED"
    told.broken = False
    told.run()
    assert told.noted[-2:] == ["after", "put out"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    told = Told(TinyJob(root=tmp_path))
    told.run()
    with run_lock(told.path), pytest.raises(TrackyardError, match="in use by process"):
        told.run()


def test_a_world_that_does_not_fit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    def refuse(world: int) -> None:
        raise ConfigError(what=f"{world} ranks", why="", fix="")

    told = Told(TinyJob(root=tmp_path), check_world=refuse)
    with pytest.raises(ConfigError, match="1 ranks"):
        told.run()
    assert told.noted == []

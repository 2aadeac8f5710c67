"""One stage as one job that is waited for: its output, its exit code, and what becomes of it when nobody waits."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.launch.jobs.dvc_world import SITE
from tests.launch.jobs.graphs import job, kept
from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.jobs import single
from trackyard.launch.jobs.following import status
from trackyard.launch.jobs.logs import lines, over
from trackyard.launch.jobs.retrying import retry
from trackyard.launch.jobs.store import Ended, Kept, graphs, open_graph
from trackyard.launch.jobs.submitting import submit
from trackyard.launch.jobs.waiting import PATIENCE_S
from trackyard.launch.sites import Need, Site
from trackyard.launch.slurm.client import SlurmClient
from trackyard.launch.stage_needs import StageNeed
from trackyard.runner import Finished, SystemRunner

COMMAND = ("trackyard", "run", "toy", "second", "--processes", "2")


class World:
    """A scheduler whose jobs are over as soon as they are submitted: `job` says how. said: what was printed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.slurm = FakeSlurm(SystemRunner())
        self.job: Callable[[str], None] = lambda _: None
        self.said: list[str] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        done = self.slurm.run(argv, cwd=cwd, env=env, timeout_s=timeout_s)
        if argv[0] == "sbatch":
            self.slurm.schedule()
            self.job(done.stdout.strip())
        return done

    @property
    def kept(self) -> Kept:
        return open_graph(self.root, None)

    def writes(self, text: str) -> None:
        self.kept.log(single.NAME).write_text(text)

    def ends(self, slurm_id: str, *, code: int) -> None:
        """As `trackyard work` ends it, and then Slurm."""
        state = "failed" if code else "done"
        record = Ended(state=state, exit_code=code, detail="why", at="2026-01-01T00:00:00+00:00", slurm_id=slurm_id)  # type: ignore[arg-type]
        self.kept.note_ended(single.NAME, record)
        self.slurm.end(slurm_id, exit_code=code)

    def ask(
        self, needs: Need = "train", *, site: Site = SITE, say: Callable[[str], None] | None = None, **variables: str
    ) -> int:
        stage = StageNeed(address="second", needs=needs, divided=False)
        return single.run_as_job(
            self.root, site, stage, COMMAND, environment=variables, runner=self, say=say or self.said.append
        )

    def cancelled(self) -> list[str]:
        return [one for argv in self.slurm.calls if argv[0] == "scancel" for one in argv[1:]]


@pytest.fixture
def world(fresh: Path) -> World:
    return World(fresh)


@pytest.mark.parametrize("code", [0, 3, 75])
def test_what_the_job_prints_is_shown_and_its_exit_code_is_the_stages(world: World, code: int) -> None:
    def runs(slurm_id: str) -> None:
        world.writes("step 1\nstep 2, the end")
        world.ends(slurm_id, code=code)

    world.job = runs
    assert world.ask() == code
    graph = world.kept.graph
    assert world.said == [
        f"job       {graph.id} is 1 in partition gpus; trackyard status {graph.id}", "step 1", "step 2, the end",
    ]  # fmt: skip
    (one,) = graph.jobs
    assert (one.stage, one.command, one.needs, one.commits) == ("second", COMMAND, "train", False)
    assert (one.request.partition, one.request.gpus_per_node, one.request.minutes) == ("gpus", 2, 120)
    assert graph.upstream == ("first", "second"), "what it is made of is made by nobody else meanwhile"
    assert world.slurm.jobs["1"].text.endswith(f" -m trackyard work {graph.id} stage\n")
    assert world.cancelled() == []


@pytest.mark.parametrize(("word", "state"), [("TIMEOUT", "timeout"), ("OUT_OF_MEMORY", "out of memory")])
def test_a_job_that_slurm_ended_is_an_error_and_never_done(world: World, word: str, state: str) -> None:
    world.job = lambda slurm_id: world.slurm.end(slurm_id, exit_code=1, state=word)
    with pytest.raises(TrackyardError, match=f"the job 1 of stage second ended as {state}") as raised:
        world.ask()
    assert type(raised.value) is TrackyardError
    assert f"trackyard logs {world.kept.graph.id}" in raised.value.fix


def test_a_job_that_slurm_has_forgotten_is_waited_for_no_longer_than_a_graph(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still run: it is not cancelled, and holds its stages against other graphs."""
    now = itertools.count(0.0, 60.0)
    slept: list[float] = []
    monkeypatch.setattr(single, "over", partial(over, clock=lambda: next(now)))
    monkeypatch.setattr(single, "lines", partial(lines, sleep=slept.append))
    world.slurm.accounting = False
    world.job = world.slurm.forget
    with pytest.raises(EnvironmentLacking, match="Slurm says nothing of stage") as raised:
        world.ask()
    assert PATIENCE_S < 60 * len(slept) + 60 < PATIENCE_S + 180
    assert f"trackyard cancel {world.kept.graph.id} stage" in raised.value.fix
    assert world.cancelled() == []
    with pytest.raises(TrackyardError, match="has not ended"):
        world.ask()
    assert len(world.slurm.submitted) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_waiting_cancels_the_job(world: World, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        world.ask(say=lambda _: os.kill(os.getpid(), number))
    assert world.cancelled() == ["1"]
    assert not world.slurm.jobs["1"].alive
    assert [one.state for one in status(world.kept, SlurmClient(world.slurm))] == ["cancelled"]


def test_a_stop_between_the_submission_and_its_note_cancels_the_job(world: World) -> None:
    def stops(slurm_id: str) -> None:
        assert world.kept.submissions(single.NAME) == []
        raise KeyboardInterrupt

    world.job = stops
    with pytest.raises(KeyboardInterrupt):
        world.ask()
    assert world.cancelled() == ["1"]
    assert not world.slurm.jobs["1"].alive


def test_nothing_is_submitted_beside_a_graph_that_makes_what_the_stage_is_made_of(world: World) -> None:
    other = kept(world.root, job("first"), id="other-2")
    submit(other, SlurmClient(world.slurm), SITE, environment={})
    with pytest.raises(TrackyardError, match="graph other-2 has not ended"):
        world.ask()
    assert len(world.slurm.submitted) == 1
    assert [one.graph.id for one in graphs(world.root)] == ["other-2"], "a graph that is refused would be the newest"


def test_what_dvc_repro_waited_for_is_begun_anew_by_dvc_repro(world: World) -> None:
    world.job = lambda slurm_id: world.slurm.end(slurm_id, exit_code=1, state="TIMEOUT")
    with pytest.raises(TrackyardError):
        world.ask()
    with pytest.raises(ConfigError, match="is the job of a `dvc repro`") as refused:
        retry(world.kept, SlurmClient(world.slurm), SITE)
    assert refused.value.fix == "dvc repro second"
    assert len(world.slurm.submitted) == 1


def test_what_the_site_cannot_grant_is_refused_and_leaves_no_graph(world: World) -> None:
    with pytest.raises(ConfigError, match="needs the internet"):
        world.ask("network")
    without = SITE.model_copy(update={"shapes": {}})
    with pytest.raises(ConfigError, match="has no shape for stages that need 'train'"):
        world.ask(site=without)
    assert graphs(world.root) == []
    assert world.slurm.submitted == []

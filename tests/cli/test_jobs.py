"""`status`, `logs`, `cancel`, `retry` and `work` as people and scripts call them; the scheduler is a fake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.launch.jobs.graphs import job, kept
from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard.cli.main import app
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.jobs.store import Ended, Kept
from trackyard.launch.jobs.submitting import submit
from trackyard.launch.sites import load_site
from trackyard.launch.slurm.client import SlurmClient

SITE = """
name: toy
scheduler: slurm
default_partition: gpus
partitions:
  gpus: {device: cpu, cores_per_node: 2}
"""


class Fixture:
    """A graph of a, and b behind it, submitted and started."""

    def __init__(self, root: Path) -> None:
        (root / "params.yaml").write_text("{}\n")
        (root / "sites").mkdir()
        (root / "sites/toy.yaml").write_text(SITE)
        self.slurm = FakeSlurm()
        self.kept: Kept = kept(root, job("a", inputs={}), job("b", "a", inputs={}), id="stage3-abc1")
        submit(self.kept, SlurmClient(self.slurm), load_site("toy", root), environment={})
        self.slurm.schedule()

    def call(self, *words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words), catch_exceptions=True)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output

    def fail(self) -> None:
        self.kept.note_attempt("a", event="began", slurm_id="1", life=1)
        self.kept.note_attempt("a", event="ended", slurm_id="1", life=1, next="failed")
        self.kept.note_ended(
            "a", Ended(state="failed", exit_code=3, detail="ended with exit code 3", at="2026-01-01", slurm_id="1")
        )
        self.slurm.end("1", exit_code=3)
        self.slurm.schedule()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fixture:
    made = Fixture(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trackyard.runner.SystemRunner", lambda: made.slurm)
    return made


def test_status_tells_states_reasons_and_the_next_command(world: Fixture) -> None:
    code, out = world.call("status")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[:2]] == [["a", "running", "1"], ["b", "pending", "2"]]
    assert out.splitlines()[-1] == "stage3-abc1: 1 running, 1 pending"
    world.fail()
    code, out = world.call("status", "stage3")
    assert code == 1
    assert "ended with exit code 3" in out
    assert "waited for a: failed" in out
    assert "trackyard retry stage3-abc1" in out


def test_status_as_json(world: Fixture) -> None:
    world.fail()
    code, out = world.call("status", "--json")
    document = json.loads(out)
    assert code == 1
    assert (document["schema"], document["graph"]) == ("trackyard-jobs-status/1", "stage3-abc1")
    assert [(one["name"], one["state"], one["failed_ancestor"]) for one in document["jobs"]] == [
        ("a", "failed", None),
        ("b", "cancelled", "a"),
    ]


def test_logs_by_job_by_graph_and_by_both(world: Fixture) -> None:
    path = world.kept.log("a")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("one line\n")
    for words in ((), ("a",), ("stage3",), ("stage3", "a")):
        assert world.call("logs", *words) == (0, "one line\n")
    world.fail()
    assert world.call("logs", "a", "--follow") == (0, "one line\n")
    for words in ((), ("--follow",)):
        with pytest.raises(TrackyardError, match="b of graph stage3-abc1 has no log yet"):
            world.call("logs", "stage3", "b", *words)
    with pytest.raises(ConfigError, match="no graph begins with 'c'"):
        world.call("logs", "c")


def test_cancel_then_retry(world: Fixture) -> None:
    assert world.call("cancel") == (0, "cancelled a, which was running\ncancelled b, which was pending\n")
    assert world.call("cancel") == (0, "nothing to cancel: no job of stage3-abc1 is alive\n")
    assert world.call("retry") == (0, "submitted a as 3\nsubmitted b as 4\n")
    assert world.call("retry") == (0, "nothing to retry: no job of stage3-abc1 has failed\n")


def test_work_is_for_batch_jobs(world: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(EnvironmentLacking, match="SLURM_JOB_ID is not set"):
        world.call("work", "stage3-abc1", "a")
    assert "work" not in {line.split()[1] for line in world.call("--help")[1].splitlines() if line.startswith("│ ")}

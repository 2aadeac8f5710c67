"""Molmo2 on a real cluster: three stages after each other, and trainings that are cut off and end bit-equal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.project import Project, make_project
from tests.cluster.slurm_cluster import SlurmCluster
from tests.system.repository import Repository, Running
from trackyard.record.comparing.attempt_log import TRAINED
from trackyard.record.rundir import spooled_attempt
from trackyard.record.spool import read_spool

pytestmark = pytest.mark.system

STAGES = ("stage1", "stage2", "stage3")


@pytest.fixture(scope="module")
def finished(bare: Repository, cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository in which `trackyard submit stage3` was the first and only command."""
    project = make_project(bare, tmp_path_factory.mktemp("training") / "root", cluster)
    graph = project.submit("stage3")
    project.status(graph, wait=True)
    return project


def test_three_stages_come_after_each_other_and_are_committed(finished: Project) -> None:
    (graph,) = finished.graphs()
    jobs = finished.status(graph)
    assert {job["stage"]: job["state"] for job in jobs.values()} == dict.fromkeys(STAGES, "done")
    lives = {job["stage"]: finished.lives(graph, name) for name, job in jobs.items()}
    assert all([line["event"] for line in of_stage] == ["began", "ended"] for of_stage in lives.values())
    for earlier, later in (("stage1", "stage2"), ("stage2", "stage3")):
        assert lives[earlier][1]["at"] <= lives[later][0]["at"]
    assert set(yaml.safe_load((finished.path / "dvc.lock").read_text())["stages"]) == set(STAGES)
    assert "up to date" in finished.dvc("status", *STAGES)
    assert "nothing to do" in finished.done("submit", "stage3")
    assert finished.graphs() == {graph}, "no graph of nothing"


def test_cut_off_by_the_wall_limit_and_by_a_rival_trainings_end_bit_equal(finished: Project, tmp_path: Path) -> None:
    """And beside them `dvc repro` of a site with Slurm: a job that it waits for."""
    cluster = finished.cluster
    timed = _slow(finished.copy(tmp_path / "timed"), seconds=10, minutes=2)
    graph_timed = timed.submit("stage2")
    preempted = _slow(finished.copy(tmp_path / "preempted"), seconds=4, gpus_per_node=4)
    graph_preempted = preempted.submit("stage2", "--partition", "preempt")
    (name,) = preempted.status(graph_preempted)
    preempted.wait_for(lambda: _checkpoints(preempted), "the first checkpoint")

    repro = finished.copy(tmp_path / "repro")
    kept = repro.weights("stage1")
    running = Running(repro.repository, [sys.executable, "-m", "dvc", "repro", "--single-item", "--force", "stage1"])

    slurm_id = preempted.status(graph_preempted)[name]["slurm_id"]
    node = cluster.job(slurm_id)["NodeList"]
    cluster.run("srun", "--partition=gpu", f"--nodelist={node}", "--gpus-per-node=4", "--mem=100", "true")

    for project, graph in ((preempted, graph_preempted), (timed, graph_timed)):
        (job,) = project.status(graph, wait=True).values()
        assert (job["state"], job["lives"]) == ("done", 2), project.logs()
        assert project.weights("stage2") == finished.weights("stage2")
        assert "up to date" in project.dvc("status", "stage2")
        begun = [line for line in project.lives(graph, job["name"]) if line["event"] == "began"]
        assert [line["life"] for line in begun] == [1, 2]
        # From the start again it would end with the same weights: that it went on is told by its steps.
        first, second = _steps_of_lives(project)
        assert first[0] == 1
        assert 1 < second[0] <= first[-1] + 1
    ended = running.end()
    assert ended.code == 0, f"{ended}\n{repro.logs()}"
    assert repro.weights("stage1") == kept
    assert "up to date" in repro.dvc("status", "stage1")
    (graph,) = repro.graphs()
    assert {job["state"] for job in repro.status(graph).values()} == {"done"}, "it was a job"


def _checkpoints(project: Project) -> bool:
    return bool(list(project.path.glob("runs/molmo2/stage2/*/checkpoints/step-*/COMPLETE")))


def _steps_of_lives(project: Project) -> list[list[int]]:
    """Training steps that each attempt of stage 2 spooled; what was told after the training has none."""
    spools = sorted((project.repository.run_directory("stage2") / "spool").glob("attempt-*.jsonl"), key=spooled_attempt)
    found = [
        [event["step"] for _, event in read_spool(path).events if TRAINED in event.get("values", {})] for path in spools
    ]
    return [steps for steps in found if steps]


def _slow(project: Project, *, seconds: int, **shape: object) -> Project:
    """With trainings that take so much longer for a step of their first life, in jobs of another size."""

    def change(site: dict[str, Any]) -> None:
        site["shapes"]["train"] |= shape
        site["network"]["environment"] |= {"PYTHONPATH": str(project.path / "pace"), "PACE_S": str(seconds)}

    project.change_site(change)
    return project

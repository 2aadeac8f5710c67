"""Graphs of tiny stages on a real cluster: what fails, dies, is cancelled or goes side by side, and what is told."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.project import TINY, Project, make_project
from tests.cluster.slurm_cluster import SlurmCluster
from tests.system.repository import Repository

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def base(bare: Repository, cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(bare, tmp_path_factory.mktemp("jobs") / "root", cluster)


@pytest.fixture
def project(base: Project, tmp_path: Path) -> Project:
    return Project(repository=base.repository.copy(tmp_path / "root"), cluster=base.cluster)


def _ask(project: Project, name: str, what: str) -> Path:
    """Make a stage wait or fail; the file that does it."""
    path = project.path / "asks" / f"{name}.{what}"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return path


def _wait_until_begun(project: Project, *names: str) -> None:
    def begun() -> bool:
        return all((project.path / "asks" / f"{name}.pid").exists() for name in names)

    project.wait_for(begun, f"{names} have begun")


def _by_stage(jobs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {job["stage"].removeprefix(f"{TINY}:"): job for job in jobs.values()}


def _states(jobs: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {stage: job["state"] for stage, job in _by_stage(jobs).items()}


def _up_to_date(project: Project, stage: str) -> None:
    assert "up to date" in project.dvc("status", f"{TINY}:{stage}")


def test_what_waits_for_a_failed_stage_is_cancelled_and_a_retry_makes_the_rest(project: Project) -> None:
    fails = _ask(project, "broken", "fail")
    graph = project.submit(f"{TINY}:late")
    jobs = project.status(graph, wait=True, code=1)
    assert _states(jobs) == {"early": "done", "broken": "failed", "late": "cancelled"}, project.logs()
    found = _by_stage(jobs)
    assert found["late"]["failed_ancestor"] == found["broken"]["name"]
    assert found["broken"]["detail"] == "ended with exit code 3"
    assert "broken was asked to fail" in project.done("logs", graph, found["broken"]["name"])
    assert not (project.path / "artifacts/tiny/broken").exists()
    fails.unlink()
    made = project.done("retry", graph).splitlines()
    assert [line.split()[1] for line in made] == [found["broken"]["name"], found["late"]["name"]]
    assert _states(project.status(graph, wait=True)) == {"early": "done", "broken": "done", "late": "done"}, (
        project.logs()
    )
    assert len([line for line in project.lives(graph, found["early"]["name"]) if line["event"] == "began"]) == 1
    _up_to_date(project, "late")
    assert "nothing to do" in project.done("submit", f"{TINY}:late")
    assert project.graphs() == {graph}


def test_of_an_array_only_the_dead_task_is_begun_anew(project: Project) -> None:
    holds = _ask(project, "cell-b", "wait")
    graph = project.submit(f"{TINY}:table")
    _wait_until_begun(project, "cell-a", "cell-b", "cell-c")
    os.kill(_batch_process(graph, "1"), signal.SIGKILL)
    jobs = project.status(graph, wait=True, code=1)
    assert _states(jobs) == {"cells@a": "done", "cells@b": "failed", "cells@c": "done", "table": "cancelled"}, (
        project.logs()
    )
    found = _by_stage(jobs)
    array = {found[f"cells@{cell}"]["slurm_id"].split("_")[0] for cell in "abc"}
    assert len(array) == 1, "one job of Slurm"
    holds.unlink()
    made = project.done("retry", graph).splitlines()
    assert [line.split()[1] for line in made] == [found["cells@b"]["name"], found["table"]["name"]]
    again = project.status(graph, wait=True)
    assert set(_states(again).values()) == {"done"}, project.logs()
    for cell in "ac":
        assert _by_stage(again)[f"cells@{cell}"]["slurm_id"] == found[f"cells@{cell}"]["slurm_id"]
    _up_to_date(project, "table")


def test_two_graphs_run_at_once_outlive_the_controller_and_end_apart(project: Project) -> None:
    held = _ask(project, "early", "wait"), _ask(project, "cell-a", "wait")
    chain, cells = project.submit(f"{TINY}:late"), project.submit(f"{TINY}:cells")
    _wait_until_begun(project, "early", "cell-a", "cell-b", "cell-c")
    refused = project.trackyard("submit", f"{TINY}:late")
    assert refused.code != 0
    assert chain in refused.err

    project.cluster.stop_controller()
    try:
        silent = _states(project.status(cells))
        assert silent["cells@a"] == "unknown", "and not failed"
    finally:
        project.cluster.start_controller()

    out = project.done("cancel", chain)
    assert "cancelled" in out
    assert set(_states(project.status(chain, wait=True, code=1)).values()) == {"cancelled"}, project.logs()
    assert _states(project.status(cells))["cells@a"] == "running", "of the other graph"
    held[1].unlink()
    assert set(_states(project.status(cells, wait=True)).values()) == {"done"}, project.logs()
    assert not (project.path / "artifacts/tiny/early").exists()
    _up_to_date(project, "cells")
    held[0].unlink()
    project.done("retry", chain)
    assert set(_states(project.status(chain, wait=True)).values()) == {"done"}, project.logs()
    _up_to_date(project, "late")


def test_a_divided_stage_is_an_array_of_parts_and_a_job_that_joins_them(project: Project) -> None:
    graph = project.submit(f"{TINY}:divided", "--shards", "divided=3")
    jobs = project.status(graph, wait=True)
    assert [job["state"] for job in jobs.values()] == ["done"] * 4, project.logs()
    assert len({job["slurm_id"].split("_")[0] for job in jobs.values()}) == 2, "an array, and a job"
    made = {path.name: path.read_text() for path in (project.path / "artifacts/tiny/divided").iterdir()}
    assert made == {f"part-{k}": f"--shard {k}/3\n" for k in range(3)} | {"whole": "joined\n"}
    _up_to_date(project, "divided")
    assert "nothing to do" in project.done("submit", f"{TINY}:divided", "--shards", "divided=3")


def _batch_process(graph: str, index: str) -> int:
    """Of the process that lives a task of an array."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if b"work" not in command or graph.encode() not in command:
                continue
            if f"SLURM_ARRAY_TASK_ID={index}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    (pid,) = found
    return pid

"""A cluster with slurmdbd: what it remembers, and jobs of trackyard that somebody pays for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.accounting import ACCOUNT
from tests.cluster.project import TINY, make_project
from tests.cluster.slurm_cluster import SlurmCluster
from tests.system.repository import Repository

pytestmark = pytest.mark.system


def test_accounting_remembers_jobs_and_refuses_strangers(accounted: SlurmCluster, tmp_path: Path) -> None:
    found = accounted.batch(tmp_path, "exit 3", f"--account={ACCOUNT}", "--gpus-per-node=2")
    accounted.wait_for_job(found, "FAILED")

    def remembered() -> bool:
        kept = accounted.run("sacct", "-n", "-X", "-P", "-j", found, "-o", "State,ExitCode,Account,AllocTRES")
        return kept.startswith(f"FAILED|3:0|{ACCOUNT}|") and "gres/gpu=2" in kept

    accounted.daemons.wait(remembered, "sacct knows the job")
    with pytest.raises(AssertionError, match="Invalid account"):
        accounted.batch(tmp_path, "true", "--account=others")


def test_jobs_are_charged_and_accounting_tells_of_one_that_could_not(
    bare: Repository, accounted: SlurmCluster, tmp_path: Path
) -> None:
    """The completion record of a failed job is lost: then Slurm's word holds, with accounting as without."""
    project = make_project(bare, tmp_path / "root", accounted, account_variable="PAID_BY")
    parts = project.trackyard("submit", f"{TINY}:early").error(2, "ConfigError")
    assert parts["what"] == "PAID_BY is not set"
    (project.path / "asks").mkdir()
    (project.path / "asks" / "early.fail").touch()
    graph = project.submit(f"{TINY}:early", PAID_BY=ACCOUNT)
    (job,) = project.status(graph, wait=True, code=1).values()
    assert job["state"] == "failed"
    assert accounted.job(job["slurm_id"])["Account"] == ACCOUNT
    (project.path / "runs" / "jobs" / graph / job["name"] / "ended.json").unlink()
    accounted.daemons.wait(
        lambda: "FAILED" in accounted.run("sacct", "-n", "-X", "-j", job["slurm_id"], "-o", "State"), "sacct knows it"
    )
    (told,) = project.status(graph, code=1).values()
    assert told["state"] == "failed"
    (project.path / "asks" / "early.fail").unlink()
    project.done("retry", graph, PAID_BY=ACCOUNT)
    (again,) = project.status(graph, wait=True).values()
    assert again["state"] == "done"

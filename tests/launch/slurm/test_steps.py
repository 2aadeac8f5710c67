"""The step of a job, and what its environment holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.launch.slurm.batch_jobs import REQUEST
from trackyard.launch.sites import Site, load_site
from trackyard.launch.slurm.exports import job_exports
from trackyard.launch.slurm.steps import srun_argv

ROOT = Path(__file__).resolve().parents[3]


def test_a_step_asks_for_everything_itself() -> None:
    assert srun_argv(REQUEST, ["trackyard", "run", "molmo2", "stage2"]) == [
        "srun",
        "--nodes=2",
        "--ntasks=8",
        "--ntasks-per-node=4",
        "--cpus-per-task=24",
        "--gpus-per-node=4",
        "--cpu-bind=cores",
        "--mpi=none",
        "--export=ALL",
        "--kill-on-bad-exit=1",
        "--wait=0",
        "trackyard",
        "run",
        "molmo2",
        "stage2",
    ]
    assert not any("gpus" in one for one in srun_argv(replace(REQUEST, gpus_per_node=0), ["true"]))


@pytest.fixture
def site() -> Site:
    anvil = load_site("anvil", ROOT)
    network = anvil.network.model_copy(update={"environment": {"NCCL_SOCKET_IFNAME": "ib0", "PATH": "/site"}})
    return anvil.model_copy(update={"network": network, "account_variable": "WHO_PAYS"})


def test_a_job_sees_what_is_listed_and_nothing_else(site: Site) -> None:
    assert site.scratch is not None
    environment = {
        "PATH": "/mine",
        "HOME": "/home/me",
        "WHO_PAYS": "proj",
        site.scratch.path_variable: "/scratch/me",
        "TRACKYARD_SITE": "elsewhere",
        "TRACKYARD_JOB": "outer/job",
        "TRACKYARD_IMAGE_DIGEST": "sha256:0",
        "TRACKYARD_THREADS": "2",
        "HF_TOKEN": "canary-7f3a9",
        "AWS_SECRET_ACCESS_KEY": "canary-7f3a9",
        "PYTHONPATH": "/poison",
        "LD_PRELOAD": "/poison.so",
        "https_proxy": "http://proxy:1",
        "SLURM_PROCID": "3",
    }
    found = dict(job_exports(site, "train", environment=environment))
    assert found == {
        "PATH": "/site",
        "HOME": "/home/me",
        "WHO_PAYS": "proj",
        site.scratch.path_variable: "/scratch/me",
        "TRACKYARD_SITE": "anvil",
        "TRACKYARD_THREADS": "2",
        "NCCL_SOCKET_IFNAME": "ib0",
        "HF_HUB_OFFLINE": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@pytest.mark.parametrize("needs", ["train", "gpu", "cpu"])
def test_jobs_are_offline_whatever_was_set(site: Site, needs: str) -> None:
    found = dict(job_exports(site, needs, environment={"HF_HUB_OFFLINE": "0"}))  # type: ignore[arg-type]
    assert found["HF_HUB_OFFLINE"] == "1"


def test_jobs_that_need_the_network_are_not(site: Site) -> None:
    found = dict(job_exports(site, "network", environment={"https_proxy": "http://proxy:1"}))
    assert "HF_HUB_OFFLINE" not in found
    assert found["https_proxy"] == "http://proxy:1"


def test_what_the_site_binds_by_a_variable_goes_along(site: Site) -> None:
    bound = site.model_copy(update={"binds": ("$DATASETS:/data:ro", "${MORE}/x:/x", "$SLURM_TMPDIR:/tmp")})
    environment = {"DATASETS": "/big", "MORE": "/more", "SLURM_TMPDIR": "/here", "OTHER": "1"}
    found = dict(job_exports(bound, "train", environment=environment))
    assert (found["DATASETS"], found["MORE"]) == ("/big", "/more")
    assert {"SLURM_TMPDIR", "OTHER"} & set(found) == set()

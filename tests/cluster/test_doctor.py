"""Rows of the doctor about a real Slurm, without accounting and with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import accounting
from tests.cluster.slurm_cluster import GPUS, SlurmCluster
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.doctor import scheduler
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.preflight import Seen, Skipped
from trackyard.launch.sites import Partition, Site
from trackyard.runner import SystemRunner

pytestmark = pytest.mark.system
GPU = Partition(device="h100", gpus_per_node=GPUS, nodes=2, cores_per_node=4, max_hours=24, max_gpus_per_user=8)


def asking(root: Path, cluster: SlurmCluster, *, partition: Partition = GPU, account: str | None = None) -> Asked:
    site = Site(
        name="test",
        scheduler="slurm",
        account_variable="TEST_ACCOUNT",
        default_partition="gpu",
        partitions={"gpu": partition, "preempt": GPU},
    )
    environment = os.environ | cluster.environment | ({} if account is None else {"TEST_ACCOUNT": account})
    return Asked(root=root, site=site, runner=SystemRunner(), environment=environment)


def test_a_cluster_without_accounting(cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    monkeypatch.setattr(scheduler, "ANSWER_S", 120.0)
    asked = asking(tmp_path, cluster, account="proj")
    assert "is UP" in scheduler.slurm_row(asked).detail
    assert scheduler.partitions_row(asked).detail.startswith("gpu, preempt: up")
    assert "keeps no accounts" in scheduler.account_row(asked).detail
    with pytest.raises(Skipped):
        scheduler.limits_row(asked)
    for change, what in (
        ({"max_hours": 25}, "gpu allows 24 h, not 25 h"),
        ({"nodes": 3}, "gpu has 2 nodes, not 3"),
        ({"gpus_per_node": GPUS + 1}, f"gpu has {GPUS} GPUs in a node"),
    ):
        too_much = asking(tmp_path, cluster, partition=GPU.model_copy(update=change))
        with pytest.raises(ConfigError, match=what):
            scheduler.partitions_row(too_much)


def test_a_cluster_with_accounting(accounted: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(accounted.configuration))
    monkeypatch.setattr(scheduler, "ANSWER_S", 120.0)
    asked = asking(tmp_path, accounted, account=accounting.ACCOUNT)
    assert "may charge it" in scheduler.account_row(asked).detail
    assert "no limit of GPUs" in scheduler.limits_row(asked).detail
    with pytest.raises(ConfigError, match=f"has {accounting.ACCOUNT}"):
        scheduler.account_row(asking(tmp_path, accounted, account="other"))


@pytest.mark.parametrize("row", [scheduler.slurm_row, scheduler.partitions_row], ids=lambda row: row.__name__)
def test_a_controller_that_is_not_there(
    cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Callable[[Asked], Seen]
) -> None:
    text = cluster.configuration.read_text()
    line = next(line for line in text.splitlines() if line.startswith("SlurmctldPort="))
    elsewhere = tmp_path / "slurm.conf"
    elsewhere.write_text(text.replace(line, "SlurmctldPort=1") + "SlurmctldTimeout=2\nMessageTimeout=2\n")
    monkeypatch.setenv("SLURM_CONF", str(elsewhere))
    with pytest.raises(EnvironmentLacking):
        row(asking(tmp_path, cluster))

"""What the files of a process of pytest share: a cluster, one with accounting, the image, and the small repository."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import cpu_image, slurm_cluster
from tests.cluster.cpu_image import CpuImage
from tests.cluster.slurm_cluster import SlurmCluster
from tests.system.conftest import after_stage1, bare

__all__ = ["after_stage1", "bare"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    missing = slurm_cluster.lacking()
    if missing:
        pytest.skip(missing)
    with slurm_cluster.slurm_cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture(scope="session")
def accounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A cluster with slurmdbd, on which jobs need an account."""
    missing = slurm_cluster.lacking(accounts=True)
    if missing:
        pytest.skip(missing)
    with slurm_cluster.slurm_cluster(tmp_path_factory.mktemp("accounted"), accounts=True) as made:
        yield made


@pytest.fixture(scope="session")
def image() -> CpuImage:
    """Built at its first use of a definition: minutes, and no time afterwards."""
    missing = cpu_image.lacking()
    if missing:
        pytest.skip(missing)
    return cpu_image.cpu_image()

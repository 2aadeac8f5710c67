"""The image `cpu` as its definition makes it, entered by ranks on two nodes (alone: system/test_demo_inside.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cpu_image import CpuImage, image_of_run
from tests.cluster.project import Project, make_project
from tests.cluster.slurm_cluster import SlurmCluster
from tests.system.repository import STAGE1_STEPS, Repository, spooled

pytestmark = pytest.mark.system

STORE = "IMAGES_OF_THE_TEST"


def test_four_ranks_on_two_nodes_train_inside(
    bare: Repository, after_stage1: Repository, cluster: SlurmCluster, image: CpuImage, tmp_path: Path
) -> None:
    small = bare.copy(tmp_path / "bare")
    small.edit(lambda values: values["engine"].update(micro_batch=1))
    project = _with_image(make_project(small, tmp_path / "root", cluster), image)
    project.change_site(_two_nodes_inside)
    graph = project.submit("stage1", **{STORE: str(image.folder)})
    (job,) = project.status(graph, wait=True).values()
    assert job["state"] == "done", project.logs()
    assert "ranks     4 started by srun, 2 of them on this machine" in project.logs()
    assert image_of_run(project.path, "stage1") == image.digest
    found = spooled(project.repository.run_directory("stage1"), exact=False)
    expected = spooled(after_stage1.run_directory("stage1"))
    assert sorted(found) == list(range(1, STAGE1_STEPS + 1))
    for step, values in expected.items():
        assert found[step]["train/step_tokens"] == values["train/step_tokens"]
        assert found[step]["train/loss"] == pytest.approx(values["train/loss"], abs=1e-4)


def _two_nodes_inside(site: dict[str, Any]) -> None:
    site |= {"image": "cpu", "image_store": {"path_variable": STORE}}
    site["shapes"]["train"] |= {"nodes": 2, "tasks_per_node": 2, "gpus_per_node": 2, "memory_gb_per_node": 7}


def _with_image(project: Project, image: CpuImage) -> Project:
    """With the lock of the image, committed."""
    image.bring(project.path)
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message=image")
    return project

"""The image `cpu` as its definition makes it: stages inside are bit-equal to stages outside, alone and on two nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cluster.cpu_image import CpuImage
from tests.cluster.project import Project, make_project
from tests.cluster.slurm_cluster import SlurmCluster
from tests.system.repository import SOURCE, STAGE1_STEPS, Repository, spooled

pytestmark = pytest.mark.system

STORE = "IMAGES_OF_THE_TEST"
ENTERED = 'apptainer exec --cleanenv --no-home containers/cpu.sif python -c "import torch; print(torch.__version__)"'
REPRODUCED = "TRACKYARD_SITE=local-apptainer dvc repro stage2"
"""As the README shows them; the fixture of the image types `make image`."""


def test_dvc_repro_inside_gives_the_weights_of_outside(
    bare: Repository, uninterrupted: Repository, cluster: SlurmCluster, image: CpuImage, tmp_path: Path
) -> None:
    inside = _with_image(make_project(bare, tmp_path / "root", cluster), image)
    name = "local-apptainer"
    (inside.path / "sites" / f"{name}.yaml").write_text((SOURCE / "sites" / f"{name}.yaml").read_text())
    (inside.path / "containers" / "cpu.sif").symlink_to(image.file)
    assert inside.shell(ENTERED).strip() == f"{torch.__version__}"
    inside.shell(REPRODUCED, **inside.repository.environment)
    outside = Project(repository=uninterrupted, cluster=cluster)
    for stage in ("stage1", "stage2"):
        found, expected = _model(inside, stage), _model(outside, stage)
        assert "model.safetensors" in found
        assert found == expected
        assert _image_of(inside, stage) == image.digest
    assert _image_of(outside, "stage2") is None
    proved = inside.done("lineage", "verify", "artifacts/molmo2/stage2/export")
    assert "proved image: 1 file re-hashed" in proved


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
    assert _image_of(project, "stage1") == image.digest
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


def _model(project: Project, stage: str) -> dict[str, bytes]:
    """What is exported but what tells of its run, which names the image."""
    return {name: data for name, data in project.weights(stage).items() if name not in ("README.md", "lineage.json")}


def _image_of(project: Project, stage: str) -> str | None:
    """Of the one run of a stage, as its identity says."""
    (spec,) = project.path.glob(f"runs/molmo2/{stage}/*/spec.json")
    found = json.loads(spec.read_text())["spec"]["image"]
    assert found is None or isinstance(found, str)
    return found

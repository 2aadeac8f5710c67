"""The mini profile in the image `cpu`, as its definition makes it, beside the same stages outside."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cluster.conftest import image
from tests.cluster.cpu_image import AUTHOR, CpuImage, image_of_run
from tests.system.commands import ROOT, digests, run
from tests.system.everything import Everything

__all__ = ["image"]

pytestmark = pytest.mark.system

ENTERED = 'apptainer exec --cleanenv --no-home containers/cpu.sif python -c "import torch; print(torch.__version__)"'
REPRODUCED = "TRACKYARD_SITE=local-apptainer dvc repro stage2"
"""As the README shows them; the fixture of the image types `make image`."""
STAGES = ("stage1", "stage2")


def test_dvc_repro_inside_gives_the_weights_of_outside(everything: Everything, image: CpuImage, tmp_path: Path) -> None:
    inside, outside = tmp_path / "trackyard", everything.clone
    run(["git", "clone", "--quiet", str(ROOT), str(inside)], ROOT)
    image.bring(inside)
    run(["git", "add", "--all"], inside)
    run(["git", "commit", "--quiet", "--allow-empty", "--message=image"], inside, more=AUTHOR)
    (inside / "containers" / "cpu.sif").symlink_to(image.file)
    assert run(["bash", "-c", ENTERED], inside).stdout.strip() == torch.__version__
    run(["dvc", "pull", "data.dvc"], inside)
    out = run(["bash", "-c", REPRODUCED], inside).stdout
    for stage in STAGES:
        assert f"Running stage '{stage}'" in out
        found, expected = _model(inside, stage), _model(outside, stage)
        assert "model.safetensors" in found
        assert found == expected
        assert (image_of_run(inside, stage), image_of_run(outside, stage)) == (image.digest, None)
    # Negative control: stages that differ have other weights.
    assert _model(inside, STAGES[0])["model.safetensors"] != _model(inside, STAGES[1])["model.safetensors"]
    proved = run(["trackyard", "lineage", "verify", "artifacts/molmo2/stage2/export"], inside).stdout
    assert "proved image: 1 file re-hashed" in proved


def _model(clone: Path, stage: str) -> dict[str, str]:
    """Digests of what is exported, but of what tells of its run, which names the image."""
    found = digests(clone / "artifacts" / "molmo2" / stage / "export")
    return {name: digest for name, digest in found.items() if name not in ("README.md", "lineage.json")}

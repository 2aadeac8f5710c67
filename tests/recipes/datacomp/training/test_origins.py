"""An export is proved back to captions, pictures, latents, both base models and code; a transition to its parent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.recipes.datacomp.tiny_study import PARAMETERS, silent, study_at
from trackyard.errors import CheckpointError, DataError
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.jobs import world_job
from trackyard.recipes.datacomp.training.training import train
from trackyard.record.code import COMMIT_VARIABLE
from trackyard.record.lineage.document import read_lineage
from trackyard.record.lineage.proof import prove
from trackyard.record.lineage.run_chain import run_chain

WORLD = Cell(name="world", seed=42)


@pytest.fixture(autouse=True)
def code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the study, which lies in no checkout."""
    monkeypatch.setenv(COMMIT_VARIABLE, "c" * 40)


def test_an_export_a_run_and_a_checkpoint_are_proved(trained: Study) -> None:
    chain = run_chain(trained.export(WORLD), trained.root)
    facts = {link.name: link.facts for link in chain.walk()}
    assert list(facts) == [
        "files", "run", "plan", "snapshot datacomp", "snapshot latents", "model gemma", "model vae", "code",
    ]  # fmt: skip
    assert facts["snapshot latents"]["source"].startswith("encoder=tiny-wan-vae")
    assert facts["snapshot datacomp"]["source"] == "kind=mini revision=made"
    proof = prove(chain)
    assert proof.trusted == []
    directory = trained.runs / "datacomp" / "train" / world_job(trained, WORLD).spec.run_id
    prove(run_chain(directory, trained.root))
    prove(run_chain(directory / "checkpoints" / "step-00000012", trained.root))


def test_one_changed_byte_stops_by_name(trained: Study, tmp_path: Path) -> None:
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs"))
    study = study_at(tmp_path)
    for link, path in (
        ("files", study.export(WORLD) / "model.safetensors"),
        ("snapshot datacomp", study.curated),
        ("snapshot datacomp", next(study.images.glob("block-*/part-00000.parquet"))),
        ("snapshot latents", next(study.latents.glob("*.f16"))),
        ("snapshot latents", study.latents / "index.parquet"),
        ("model gemma", study.gemma / "model.safetensors"),
        ("model vae", study.vae / "config.json"),
    ):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(DataError, match=f"link '{link}' is wrong"):
            prove(run_chain(study.export(WORLD), study.root))
        path.write_bytes(before)
    prove(run_chain(study.export(WORLD), study.root))


def test_a_stage_transition_names_the_run_that_it_goes_on_from(trained: Study, tmp_path: Path) -> None:
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs"))
    shutil.copytree(study_at(tmp_path).export(WORLD), tmp_path / "earlier")
    begun = study_at(
        tmp_path,
        {"training.init_from": "earlier", "training.expected_trainable": 33_921, "training.epochs": 1},
    )
    run_id = read_lineage(tmp_path / "earlier").run_id
    assert world_job(begun, WORLD).spec.parent == run_id
    weights = (tmp_path / "earlier" / "model.safetensors").rename(tmp_path / "away")
    with pytest.raises(CheckpointError, match=r"earlier holds no model\.safetensors"):
        world_job(begun, WORLD)
    weights.rename(tmp_path / "earlier" / "model.safetensors")
    train(begun, WORLD, silent, PARAMETERS)
    chain = run_chain(begun.export(WORLD), tmp_path)
    assert {"model gemma", "parent: files", "parent: run", "parent: model gemma"} < {link.name for link in chain.walk()}
    prove(chain)
    (tmp_path / "earlier").rename(tmp_path / "renamed")
    with pytest.raises(DataError, match=rf"parent: files \(the export of run {run_id} is not at"):
        prove(run_chain(begun.export(WORLD), tmp_path))

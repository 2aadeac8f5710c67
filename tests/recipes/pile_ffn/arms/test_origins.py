"""Every export of the study is proved back to text, model and code; an arm's parent is the run that pretrained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.recipes.pile_ffn.arms.test_start import PUBLISHED, written
from tests.recipes.pile_ffn.tiny_study import random_model, tiny_study
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.arms.declaring import init
from trackyard.recipes.pile_ffn.arms.jobs import arm_job, pretraining_job
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.arms.start import untouched
from trackyard.recipes.pile_ffn.arms.training import train
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.code import COMMIT_VARIABLE
from trackyard.record.lineage.document import read_lineage
from trackyard.record.lineage.proof import prove
from trackyard.record.lineage.run_chain import run_chain

PARAMETERS = Path("params.yaml")
ARM = Cell(arm="nonneg_mlp_both", seed=42)


@pytest.fixture(autouse=True)
def code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the study, which lies in no checkout."""
    monkeypatch.setenv(COMMIT_VARIABLE, "c" * 40)


def silent(_line: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A made model that was pretrained, and an arm that was trained from it."""
    found = tiny_study(tmp_path_factory.mktemp("origins"))
    untouched(found, silent, PARAMETERS)
    init(found, silent)
    train(found, ARM, silent, PARAMETERS)
    return found


def test_an_arm_is_proved_back_to_the_run_that_pretrained(study: Study) -> None:
    job = arm_job(study, ARM)
    assert job.spec.parent == pretraining_job(study).spec.run_id == read_lineage(study.export(CELL)).run_id
    chain = run_chain(study.export(ARM), study.root)
    names = [link.name for link in chain.walk()]
    assert names[:6] == ["files", "run", "plan", "snapshot train-00", "snapshot val", "code"]
    assert {"parent: files", "parent: run", "parent: snapshot pretrain", "parent: model start"} < set(names)
    facts = {link.name: link.facts for link in chain.walk()}
    assert (facts["snapshot val"]["source"], facts["snapshot val"]["licence"]) == ("kind=mini", "CC0-1.0")
    # 10 files of the export, 3 sets of 4, 2 plans, and of the parent the 5 exact ones.
    assert prove(chain).hashed == 10 + 12 + 2 + 5
    directory = study.runs / "pile_ffn" / "train" / job.spec.run_id
    prove(run_chain(directory, study.root))
    prove(run_chain(directory / "checkpoints" / "step-00000006", study.root))
    prove(run_chain(study.export(CELL), study.root))


def test_a_changed_token_or_start_stops(study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.artifacts, tmp_path / "artifacts" / "pile_ffn")
    shutil.copytree(study.root / "artifacts" / "plans", tmp_path / "artifacts" / "plans")
    copy = Study(root=tmp_path, parameters=study.parameters)
    for link, path in (
        ("snapshot train-00", copy.tokens / "train-00" / "tokens-00000.bin"),
        ("parent: files", copy.export(CELL) / "fp32" / "model.safetensors"),
        ("files", copy.export(ARM) / "bf16" / "model.safetensors"),
    ):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(DataError, match=f"link '{link}' is wrong"):
            prove(run_chain(copy.export(ARM), tmp_path))
        path.write_bytes(before)
    prove(run_chain(copy.export(ARM), tmp_path))


def test_an_arm_of_a_published_model_has_no_parent_and_names_its_files(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, **PUBLISHED)
    random_model("gpt_neox", seed=7).save_pretrained(study.source / "model")
    written(study)
    untouched(study, silent, PARAMETERS)
    init(study, silent)
    prove(run_chain(study.export(CELL), study.root))
    job = arm_job(study, Cell(arm="baseline", seed=42))
    assert job.spec.parent is None
    assert job.spec.model["published"]["revision"] == "a" * 40
    models = job.origins.models
    assert set(models) == {"start", "published"}
    assert "model/model.safetensors" in models["published"].files
    assert models["start"].files["fp32/model.safetensors"] in job.spec.model["start"].values()
    train(study, Cell(arm="baseline", seed=42), silent, PARAMETERS)
    export = study.export(Cell(arm="baseline", seed=42))
    prove(run_chain(export, study.root))
    path = study.source / "model" / "model.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(DataError, match="link 'model published' is wrong"):
        prove(run_chain(export, study.root))

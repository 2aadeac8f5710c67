"""Which run a cell is: what decides its result decides its id, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.recipes.pile_ffn.tiny_study import tiny_study
from trackyard.errors import ConfigError
from trackyard.recipes.pile_ffn.arms.declaring import init
from trackyard.recipes.pile_ffn.arms.jobs import arm_job, named_job, pretraining_job
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.parameters import ModelParameters, PileFfnParameters
from trackyard.recipes.pile_ffn.study import Study

BASELINE = Cell(arm="baseline", seed=42)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    found = tiny_study(tmp_path_factory.mktemp("jobs"))
    init(found, lambda _: None)
    return found


def changed(study: Study, group: str, **values: Any) -> Study:
    parameters = study.parameters.model_dump()
    parameters[group] |= values
    other = Study(root=study.root, parameters=PileFfnParameters.model_validate(parameters))
    other.__dict__["code"] = study.code
    return other


def run_id(study: Study) -> str:
    return arm_job(study, BASELINE).spec.run_id


def test_what_does_not_decide_a_run_does_not_change_it(study: Study) -> None:
    rates = dict(study.parameters.training.learning_rates)
    for other in (
        changed(study, "training", save_every=1),
        changed(study, "training", learning_rates=rates | {"nonneg_mlp_in": 0.5}),
        changed(study, "engine", micro_batch=1, zero_stage=1, log_every=5),
        changed(study, "perplexity", stride=1),
        changed(study, "watchdog", first_s=77.0),
    ):
        assert run_id(other) == run_id(study)


def test_what_decides_a_run_changes_it(study: Study) -> None:
    rates = dict(study.parameters.training.learning_rates)
    others = [
        changed(study, "training", learning_rates=rates | {"baseline": 0.5}),
        changed(study, "training", weight_decay=0.5),
        changed(study, "training", steps=5),
        changed(study, "training", doc_mask=True),
        changed(study, "guard", sigma=5.0),
    ]
    cells = (Cell(arm="baseline", seed=1337), Cell(arm="nonneg_mlp_in", seed=42))
    found = {run_id(each) for each in others} | {arm_job(study, cell).spec.run_id for cell in cells}
    assert len({run_id(study), *found}) == 8


def test_a_spec_says_what_was_read(study: Study) -> None:
    spec = arm_job(study, BASELINE).spec
    assert set(spec.snapshots) == {"train-00", "val"}
    assert list(spec.model["start"]) == sorted(spec.model["start"])
    assert "artifacts/pile_ffn/export/untouched/fp32/model.safetensors" in spec.model["start"]
    assert (spec.track, spec.stage, spec.seed) == ("pile_ffn", "train", 42)


def test_pretraining_is_a_run_of_its_own(study: Study) -> None:
    job = pretraining_job(study)
    assert (job.spec.stage, job.plan.dataset, job.steps, job.learning_rate) == ("untouched", "pretrain", 4, 3e-3)
    assert job.again == "dvc repro pipelines/pile_ffn/dvc.yaml:untouched"
    assert named_job(study, "untouched").spec == job.spec
    published = ModelParameters(id="x", revision="a" * 40)
    other = Study(root=study.root, parameters=study.parameters.model_copy(update={"model": published}))
    with pytest.raises(ConfigError, match="the model x is not made here"):
        pretraining_job(other)

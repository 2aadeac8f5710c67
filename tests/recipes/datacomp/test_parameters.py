"""What is refused in datacomp of params.yaml, and that dvc.yaml depends on the sections that results depend on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.recipes.datacomp.mini_parameters import ROOT, changed, mini_parameters
from trackyard.errors import ConfigError
from trackyard.recipes.datacomp.cells import ARMS
from trackyard.recipes.datacomp.declared import RESULTS, SCHEMA, declare
from trackyard.recipes.datacomp.parameters import SECTIONS, DatacompParameters
from trackyard.recipes.datacomp.stages import STAGES
from trackyard.recipes.datacomp.study import ARTIFACTS, Study
from trackyard.schema import read_document

PIPELINE = ROOT / "pipelines" / "datacomp" / "dvc.yaml"


def stages() -> dict[str, Any]:
    return yaml.safe_load(PIPELINE.read_text())["stages"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine.precision": "bf16", "engine.zero_stage": 1}, "what is trained stays fp32"),
        ({"engine.context_degree": 2}, "context_degree"),
        ({"arms": ["world"]}, "lack base_gemma"),
        ({"arms": ["base_gemma", "wrold"]}, "there are base_gemma"),
        ({"runs": ["world"]}, "which is not among runs"),
        ({"seeds": [42, 42]}, "names one twice"),
        ({"gemma.revision": "main"}, "a made model has no revision"),
        ({"gemma.made": None}, "a branch moves"),
        ({"gemma.made": None, "gemma.revision": "main"}, "a branch moves"),
        ({"vae.made": None}, "a branch moves"),
        ({"data.source.kind": "files"}, "paths for kind files"),
        ({"data.source.files": ["a.parquet"]}, "and none elsewhere"),
        ({"training.thawed_rates": {"gemma_language": 1e-5}}, "expected_trainable"),
        ({"training.init_from": "artifacts/datacomp/export/world/42"}, "expected_trainable"),
        ({"training.thawed_rates": {"vae": 1e-5}}, "thawed_rates"),
        ({"world.fusion": "add"}, "pooled4"),
        ({"training.epoch": 3}, "did you mean 'epochs'"),
    ],
)
def test_wrong_parameters_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        changed(changes)


def test_the_defaults_are_those_of_the_specification() -> None:
    """Sections 5, 7, 8 and 10 of the spec."""
    revision = "0" * 40
    found = DatacompParameters.model_validate({"gemma": {"revision": revision}, "vae": {"revision": revision}})
    assert (found.world.mode, found.world.projector, found.world.max_length) == ("pooled8", "mlp", 2048)
    assert (found.data.planned_acceptance, found.data.images.max_side, found.data.images.acceptance) == (
        0.60,
        896,
        (0.35, 0.98),
    )
    training = found.training
    assert (training.samples_per_step, training.learning_rate, training.warmup_steps) == (16, 1e-4, 500)
    assert (training.beta1, training.beta2, training.eps, training.weight_decay) == (0.9, 0.999, 1e-8, 0.01)
    assert (training.save_every, training.epochs, found.data.samples) == (500, 3, 100_000)
    assert (found.vae.pixels, found.vae.shard_images, found.seeds) == (512, 2048, (42, 1337, 2024))
    assert found.arms == tuple(ARMS)


def test_how_something_is_computed_is_no_part_of_its_specification() -> None:
    same = changed({"vae.batch": 1, "evaluation.batch": 1, "training.save_every": 7, "data.images.workers": 2})
    other = changed({"training.learning_rate": 1e-5})
    for name in SECTIONS:
        assert same.sections(name) == mini_parameters().sections(name)
    differing = {name for name in SECTIONS if other.sections(name) != mini_parameters().sections(name)}
    assert differing == {name for name in SECTIONS if "training" in SECTIONS[name]} >= {"train", "compare"}


def test_every_stage_of_the_pipeline_is_declared_and_can_be_run() -> None:
    assert set(stages()) == set(STAGES) == {*RESULTS, "estimate"}
    for name, stage in stages().items():
        assert stage["cmd"].split()[:4] == ["trackyard", "run", "datacomp", name]
        if name != "estimate":
            assert f"{ARTIFACTS}/parameters/{name}.json" in stage["deps"]
    assert {result for results in RESULTS.values() for result in results} == set(SECTIONS)


def test_what_is_declared_changes_with_what_decides_it(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for root, parameters in ((before, mini_parameters()), (after, changed({"evaluation.made_items": 40}))):
        assert declare(Study(root=root, parameters=parameters)) == len(RESULTS) == len(stages()) - 1
    texts = {
        name: [(root / ARTIFACTS / "parameters" / f"{name}.json").read_text() for root in (before, after)]
        for name in RESULTS
    }
    unlike = {name for name, (one, other) in texts.items() if one != other}
    assert unlike == {name for name, results in RESULTS.items() if any("evaluation" in SECTIONS[r] for r in results)}
    assert read_document(before / ARTIFACTS / "parameters" / "train.json", SCHEMA, fix="")["libs"]["diffusers"]

"""What is refused in pile_ffn of params.yaml, and that dvc.yaml depends on the sections that results depend on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.recipes.pile_ffn.mini_parameters import ROOT, mini_parameters
from trackyard.errors import ConfigError
from trackyard.parameters import parse_parameters
from trackyard.recipes.pile_ffn.declared import RESULTS, SCHEMA, declare
from trackyard.recipes.pile_ffn.parameters import SECTIONS, PileFfnParameters
from trackyard.recipes.pile_ffn.stages import STAGES
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.code import package_digest
from trackyard.schema import read_document

PIPELINE = ROOT / "pipelines" / "pile_ffn" / "dvc.yaml"


def values() -> dict[str, Any]:
    return mini_parameters().model_dump(mode="json")


def stages() -> dict[str, Any]:
    return yaml.safe_load(PIPELINE.read_text())["stages"]


def changed(path: str, value: Any) -> dict[str, Any]:
    found = values()
    *groups, name = path.split(".")
    inner = found
    for group in groups:
        inner = inner[group]
    inner[name] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("engine.precision", "bf16", "does not move"),
        ("arms", ["baseline", "untouched"], "those that are trained"),
        ("measured", ["baseline"], "measured="),
        ("seeds", [42, 42], "names one twice"),
        ("seeds", [], "or none"),
        ("degraded", ["gated_all"], "must be"),
        ("training.learning_rates", {"baseline": 1e-5}, "learning_rates must name exactly"),
        ("model.revision", "main", "no revision"),
        ("model", {"id": "EleutherAI/pythia-1.4b", "revision": "main"}, "a branch moves"),
        ("model", {"id": "EleutherAI/pythia-1.4b"}, "a branch moves"),
        ("attacks", {"budget": "own"}, "a budget where"),
        ("attacks.budget", "full", "and only there"),
        ("engine.context_degree", 2, "context_degree"),
        ("training.stepps", 3, "did you mean 'steps'"),
    ],
)
def test_wrong_parameters_are_refused(path: str, value: Any, told: str):
    if path == "engine.precision":
        found = changed("engine.zero_stage", 1)
        found["engine"]["precision"] = value
    else:
        found = changed(path, value)
    with pytest.raises(ConfigError, match=told):
        parse_parameters(PileFfnParameters, found, where="params.yaml: pile_ffn")


def test_a_degraded_control_needs_the_arm_that_it_is_matched_to():
    found = values()
    found["arms"] = ["baseline", "nonneg_mlp_in"]
    found["measured"] = ["untouched", *found["arms"], "degraded_mlp_both"]
    with pytest.raises(ConfigError, match="matched to nonneg_mlp_both, which is not among the arms"):
        parse_parameters(PileFfnParameters, found, where="params.yaml: pile_ffn")


def test_every_stage_depends_on_the_parameters_that_decide_it(tmp_path: Path):
    study = Study(root=tmp_path, parameters=mini_parameters())
    written = declare(study)
    for name, stage in stages().items():
        named = [dep for dep in stage["deps"] if dep.startswith("artifacts/pile_ffn/parameters/")]
        assert named == ([] if name == "estimate" else [f"artifacts/pile_ffn/parameters/{name}.json"])
        assert stage.get("params", []) == (["pile_ffn"] if name == "estimate" else [])
        if named:
            body = read_document(tmp_path / named[0], SCHEMA, fix="")["results"]
            assert body == {result: study.parameters.sections(result) for result in RESULTS[name]}
    assert written == len(stages()) - 1
    assert sorted(result for results in RESULTS.values() for result in results) == sorted(SECTIONS)


@pytest.mark.parametrize(
    ("path", "value", "changed_stages"),
    [
        ("attacks.own.iterations", 3, {"attack", "transfer", "aggregate"}),
        ("perplexity.stride", 32, {"evaluate", "aggregate"}),
        ("perplexity.batch", 1, set()),
        ("engine.threads", 2, set()),
        ("guard.sigma", 7.0, {"untouched", "train", "aggregate"}),
        ("training.save_every", 7, set()),
    ],
)
def test_a_change_reaches_the_stages_that_it_decides(tmp_path: Path, path: str, value: Any, changed_stages: set[str]):
    before, after = tmp_path / "before", tmp_path / "after"
    declare(Study(root=before, parameters=mini_parameters()))
    other = parse_parameters(PileFfnParameters, changed(path, value), where="params.yaml: pile_ffn")
    declare(Study(root=after, parameters=other))
    folder = Path("artifacts/pile_ffn/parameters")
    differing = {
        one.stem for one in (before / folder).iterdir() if one.read_bytes() != (after / folder / one.name).read_bytes()
    }
    assert differing == changed_stages


def test_a_change_of_any_source_file_reaches_every_stage(tmp_path: Path):
    shutil.copytree(ROOT / "src" / "trackyard" / "catalog", tmp_path / "package")
    before = package_digest(tmp_path / "package")
    assert package_digest(tmp_path / "package") == before
    path = sorted((tmp_path / "package").glob("*.py"))[-1]
    path.write_text(path.read_text() + "#\n")
    assert package_digest(tmp_path / "package") != before
    (document,) = {str(read_declared(tmp_path, name)["code"]) for name in RESULTS}
    assert document == package_digest()
    assert {"src/trackyard", "requirements.lock"} <= set(stages()["estimate"]["deps"])


def read_declared(root: Path, name: str) -> dict[str, Any]:
    declare(Study(root=root, parameters=mini_parameters()))
    return read_document(root / "artifacts" / "pile_ffn" / "parameters" / f"{name}.json", SCHEMA, fix="")


def test_every_stage_of_dvc_yaml_is_a_stage_of_the_track_and_the_other_way_round():
    assert set(stages()) == set(STAGES)
    for name, stage in stages().items():
        command = stage["cmd"].split()
        assert command[:4] == ["trackyard", "run", "pile_ffn", name]
        assert stage["wdir"] == "../.."
        assert (len(command) == 5) is (STAGES[name].about in ("cell", "variant", "arm"))
        assert ("matrix" in stage) is (len(command) == 5)


def test_the_shipped_study_has_every_kind_of_arm_at_two_seeds():
    parameters = mini_parameters()
    assert len(parameters.seeds) == 2
    assert len(parameters.cells) == 1 + 2 * (6 + 1)
    kinds = {name.split("_")[0] for name in parameters.measured}
    assert kinds == {"untouched", "baseline", "nonneg", "signfrozen", "absinit", "degraded"}
    assert Path(ROOT / "profiles" / "mini.yaml").read_text() == (ROOT / "params.yaml").read_text()

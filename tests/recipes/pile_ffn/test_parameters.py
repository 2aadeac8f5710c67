"""What is refused in pile_ffn of params.yaml, and that dvc.yaml depends on the sections that results depend on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.recipes.pile_ffn.mini_parameters import ROOT, mini_parameters
from trackyard.errors import ConfigError
from trackyard.parameters import parse_parameters
from trackyard.recipes.pile_ffn.parameters import SECTIONS, PileFfnParameters
from trackyard.recipes.pile_ffn.stages import STAGES

PIPELINE = ROOT / "pipelines" / "pile_ffn" / "dvc.yaml"
RESULTS_OF = {"evaluate": ("eval_ppl", "eval_bench", "probe_order"), "attack": ("attack_uat", "attack_hotflip")}
RESULTS_OF |= {"transfer": ("attack_transfer",)}


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


def makers() -> dict[str, str]:
    """The stage that puts a folder of artifacts/pile_ffn out, by that folder."""
    return {out.split("/")[2]: name for name, stage in stages().items() for out in stage.get("outs", ())}


def stated(name: str) -> set[str]:
    """Sections of which a change makes a stage run again: its own, and those that the results in its inputs state.

    A result holds the digest of its sections, so that it changes with them. Exports hold none, but for the first one.
    """
    stage = stages()[name]
    own = {one.removeprefix("pile_ffn.") for one in stage.get("params", ())}
    for dep in stage["deps"]:
        folder = dep.removeprefix("artifacts/pile_ffn/")
        result = {"tokens": "tokenize", "export/untouched": "untouched"}.get(folder, folder.split("/")[0])
        if result in SECTIONS:
            maker = "untouched" if result == "untouched" else makers()[folder.split("/")[0]]
            assert set(SECTIONS[result]) <= stated(maker), folder
            own |= set(SECTIONS[result])
    return own


def test_dvc_depends_on_the_sections_that_the_results_state():
    examined = 0
    for name in stages():
        for result in RESULTS_OF.get(name, (name,)):
            if result in SECTIONS:
                assert set(SECTIONS[result]) <= stated(name), name
                examined += 1
    assert examined == len(SECTIONS)


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

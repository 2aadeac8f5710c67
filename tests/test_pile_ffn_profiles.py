"""The profiles of the Pile-FFN study: the numbers of pile-ffn spec sections 3, 5, 6 and 8.3, and devices that change
nothing that is learned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from trackyard.parameters import read_yaml
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters, load_pile_ffn

ROOT = Path(__file__).resolve().parents[1]
STUDY = "pythia-1.4b"
DEVICES = {"pythia-1.4b-a100": "a100-80", "pythia-1.4b-h200": "h200"}


def load(name: str) -> PileFfnParameters:
    return load_pile_ffn(ROOT / "profiles" / f"{name}.yaml")


def test_the_study_is_that_of_the_specification() -> None:
    found = load(STUDY)
    assert found.seeds == (42, 1337, 2024)
    assert len(found.trained_cells) == 18
    assert len(found.cells) == 22
    assert found.measured[-1] == "degraded_mlp_both"
    training = found.training
    assert (training.tokens, training.steps, training.window, training.windows_per_step) == (
        655_360_000, 10_000, 2_048, 32
    )  # fmt: skip
    assert (training.warmup, training.weight_decay, training.clip_norm, training.eps) == (0.1, 0.01, 1.0, 1e-8)
    assert (training.beta1, training.beta2, training.save_every, found.engine.keep_checkpoints) == (0.9, 0.999, 500, 3)
    assert set(training.learning_rates.values()) <= {1e-5, 2e-5, 5e-5}
    assert found.engine.activation_checkpointing == "full"
    assert found.engine.precision == "fp32"
    assert (found.perplexity.length, found.perplexity.stride) == (2_048, 1_024)
    assert found.attacks.budget == "full"
    assert (found.benchmarks.source, found.benchmarks.limit) == ("hub", None)


def test_every_replicate_has_a_training_file_of_its_own() -> None:
    source = load(STUDY).data.source
    assert source.train == tuple(f"train/{number:02d}.jsonl.zst" for number in range(3))
    assert (source.entry, source.val, source.test) == ("pile-uncopyrighted", "val.jsonl.zst", "test.jsonl.zst")


def test_defaults_are_written_out_as_they_are() -> None:
    """What the profile states and what the code would take without it are the same held-out sets and budgets."""
    found = load(STUDY)
    defaults = PileFfnParameters.model_fields
    for name in ("seeds", "perplexity", "probes"):
        stated, default = getattr(found, name), defaults[name].default
        if hasattr(default, "model_copy"):
            stated = stated.model_copy(update={"batch": default.batch})
        assert stated == default
    assert found.data.held_out == type(found.data)().held_out


@pytest.mark.parametrize(("name", "device"), DEVICES.items())
def test_a_device_changes_nothing_that_is_learned(name: str, device: str) -> None:
    values = read_yaml(ROOT / "profiles" / f"{name}.yaml")
    assert (values["extends"], values["device"]) == (STUDY, device)
    assert set(values["pile_ffn"]) <= {"engine", "processes"}
    found, plain = load(name), load(STUDY)
    for stage in ("fetch", "tokenize", "untouched", "train", "eval_ppl", "attack_uat"):
        assert found.sections(stage) == plain.sections(stage)
    assert found.engine.micro_batch == 8
    assert plain.engine.micro_batch == 4


def test_every_profile_of_a_study_is_tested() -> None:
    there = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "profiles").glob("*.yaml")}
    found = [name for name, values in there.items() if "pile_ffn" in values and "molmo2" not in values]
    assert sorted(found) == sorted([STUDY, *DEVICES])


def test_a_profile_can_take_the_place_of_params_yaml() -> None:
    """pipelines/pile_ffn/dvc.yaml takes lists from it, which must be there and not only be defaults."""
    text = (ROOT / "pipelines" / "pile_ffn" / "dvc.yaml").read_text()
    named = set(re.findall(r"\$\{pile_ffn\.(\w+)\}", text))
    assert named == {"arms", "degraded", "measured", "seeds"}
    assert named <= set(yaml.safe_load((ROOT / "profiles" / f"{STUDY}.yaml").read_text())["pile_ffn"])

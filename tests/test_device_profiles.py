"""The profiles of devices: small layers over a value set that change how a step is computed, and nothing learned.

What they need and whether it fits is tested with `trackyard estimate` (tests/cli/test_estimate.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.errors import ConfigError
from trackyard.parameters import read_yaml
from trackyard.recipes.molmo2.parameters import STAGES, Molmo2Parameters, StageName, load_molmo2

ROOT = Path(__file__).resolve().parents[1]
DEVICES = ("a100-40", "a100-80", "h100", "h200")
LEARNED = ("steps", "packs_per_step", "max_tokens", "max_inputs", "mixture", "optimiser", "video", "point_format")


def load(name: str, base: str | None = None) -> Molmo2Parameters:
    return load_molmo2(ROOT / "profiles" / f"{name}.yaml", base=base)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("base", ["report", "seed"])
def test_a_device_changes_nothing_that_is_learned(device: str, base: str) -> None:
    """Both value sets under every device, the report's by default."""
    found, plain = load(device, base), load(base)
    for stage in STAGES:
        for name in LEARNED:
            assert getattr(found.stage(stage), name) == getattr(plain.stage(stage), name)
        changed = found.identity(stage)
        expected = plain.identity(stage)
        assert changed.pop("engine")["precision"] == expected.pop("engine")["precision"]
        assert changed == expected
    if base == "report":
        assert load(device) == found


@pytest.mark.parametrize("device", DEVICES)
def test_a_profile_is_small_and_names_its_device(device: str) -> None:
    values = read_yaml(ROOT / "profiles" / f"{device}.yaml")
    assert (values["extends"], values["device"]) == ("report", device)
    assert set(values["molmo2"]) <= {"processes", "engine", "stage1", "stage2", "stage3"}
    assert all(set(values["molmo2"].get(stage, {})) <= {"engine"} for stage in STAGES)


def test_every_layered_profile_is_tested() -> None:
    there = {path.stem: read_yaml(path) for path in (ROOT / "profiles").glob("*.yaml")}
    found = [name for name, values in there.items() if "extends" in values and "molmo2" in values]
    assert sorted(found) == sorted((*DEVICES, "laptop"))


def test_the_laptop_trains_the_mini_model_for_longer() -> None:
    laptop, mini = load("laptop"), load("mini")
    assert laptop.model == mini.model
    for stage in STAGES:
        assert laptop.stage(stage).steps > 5 * mini.stage(stage).steps
        assert laptop.stage(stage).mixture == mini.stage(stage).mixture


@pytest.mark.parametrize(
    ("stage", "checkpointing", "degree"),
    [("stage1", "selective", 1), ("stage2", "selective", 4), ("stage3", "full", 4)],
)
def test_a_stage_may_have_an_engine_of_its_own(stage: StageName, checkpointing: str, degree: int) -> None:
    engine = load("h100").engine_of(stage)
    assert (engine.activation_checkpointing, engine.context_degree) == (checkpointing, degree)
    assert (engine.precision, engine.zero_stage, engine.workers) == ("bf16", 2, 8)


def test_a_stage_without_one_has_that_of_the_track() -> None:
    found = load("mini")
    assert all(found.engine_of(stage) == found.engine for stage in STAGES)


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ("{micro_bach: 2}", "stage2.engine names"),
        ("{context_degree: 0}", "context_degree"),
        ("{zero_stage: 0}", "precision=bf16 with zero_stage=0"),
    ],
)
def test_a_stage_engine_is_checked_as_the_tracks_own(tmp_path: Path, engine: str, told: str) -> None:
    (tmp_path / "report.yaml").write_text((ROOT / "profiles" / "report.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: report\nmolmo2:\n  stage2: {{engine: {engine}}}\n")
    with pytest.raises(ConfigError) as raised:
        load_molmo2(path)
    assert told in raised.value.what


def test_an_unknown_key_of_a_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.yaml").write_text((ROOT / "profiles" / "report.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text("extends: report\nmolmo2:\n  procesess: 4\n")
    with pytest.raises(ConfigError, match="did you mean 'processes'"):
        load_molmo2(path)

"""The profiles of TheWorld: the numbers of theworld spec sections 2 to 12, and devices that change nothing that is
learned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.catalog.entries import UNPINNED
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.parameters import read_yaml
from trackyard.recipes.datacomp.cells import ARMS
from trackyard.recipes.datacomp.cost.arithmetic import PRESETS
from trackyard.recipes.datacomp.parameters import DatacompParameters, TrainingParameters, load_datacomp

ROOT = Path(__file__).resolve().parents[1]
STUDY = "theworld-100k"
PRESET_OF = {"theworld-10k": "10k", STUDY: "100k", "theworld-full": "full-alive"}
DEVICES = {
    f"{name}-{short}": (name, device) for name in PRESET_OF for short, device in (("a100", "a100-80"), ("h200", "h200"))
}


def load(name: str) -> DatacompParameters:
    return load_datacomp(ROOT / "profiles" / f"{name}.yaml")


@pytest.mark.parametrize("name", PRESET_OF)
def test_sizes_are_those_of_the_presets(name: str) -> None:
    found, preset = load(name), PRESETS[PRESET_OF[name]]
    assert (found.data.samples, found.training.epochs, found.training.warmup_steps) == (
        preset.samples, preset.epochs, preset.warmup,
    )  # fmt: skip


def test_the_study_is_that_of_the_specification() -> None:
    found = load(STUDY)
    assert found.seeds == (42, 1337, 2024)
    assert found.arms == tuple(ARMS)
    assert found.world == WorldParameters()
    assert found.training == TrainingParameters()
    assert (found.engine.micro_batch, found.engine.keep_checkpoints, found.engine.log_every) == (4, 3, 50)
    assert (found.evaluation.source, found.evaluation.resamples, found.evaluation.limit) == ("hub", 10_000, None)
    assert (found.vae.size, found.vae.subfolder, found.data.images.max_side) == (512, "vae", 896)
    assert found.data.images.blur_faces
    assert found.publish.repo is None


def test_no_commit_is_invented() -> None:
    """The hub was not asked: `pinned.require_pinned` stops every stage until someone has."""
    for name in PRESET_OF:
        found = load(name)
        assert (found.gemma.revision, found.vae.revision) == (UNPINNED, UNPINNED)


def leaves(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}.{key}" if before else key
        found |= leaves(value, name) if isinstance(value, dict) else {name: value}
    return found


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("theworld-10k", {"data.samples", "training.epochs", "training.warmup_steps"}),
        ("theworld-full", {"data.samples", "training.epochs", "training.warmup_steps", "data.images.max_side"}),
    ],
)
def test_sizes_differ_in_nothing_else(name: str, differs: set[str]) -> None:
    mine, other = (leaves(load(one).model_dump(mode="json")) for one in (name, STUDY))
    assert {key for key in mine | other if mine.get(key) != other.get(key)} == differs


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_changes_nothing_that_is_learned(name: str) -> None:
    study, device = DEVICES[name]
    values = read_yaml(ROOT / "profiles" / f"{name}.yaml")
    assert (values["extends"], values["device"]) == (study, device)
    assert set(values["datacomp"]) <= {"engine", "processes"}
    found, plain = load(name), load(study)
    for result in ("metadata", "download", "latents", "train", "eval_blink", "compare"):
        assert found.sections(result) == plain.sections(result)


def test_every_profile_of_the_track_is_tested() -> None:
    there = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "profiles").glob("*.yaml")}
    found = [name for name, values in there.items() if "datacomp" in values and "molmo2" not in values]
    assert sorted(found) == sorted([*PRESET_OF, *DEVICES])


def test_a_profile_can_take_the_place_of_params_yaml() -> None:
    """pipelines/datacomp/dvc.yaml takes lists from it, which must be there and not only be defaults."""
    text = (ROOT / "pipelines" / "datacomp" / "dvc.yaml").read_text()
    named = set(re.findall(r"\$\{datacomp\.(\w+)\}", text))
    assert named == {"runs", "arms", "seeds"}
    for name in PRESET_OF:
        assert named <= set(yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text())["datacomp"])

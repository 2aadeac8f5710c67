"""An export is loaded whole and into what it belongs to, or not at all. Row 17 of the theworld spec."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.recipes.datacomp.tiny_study import PARAMETERS, silent, study_at
from trackyard.digest import digest_file
from trackyard.errors import CheckpointError, ConfigError, DataError, IdentityError
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch, image_markers
from trackyard.recipes.datacomp.base.loading import load_gemma
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.export import CONFIG, SCHEMA, WEIGHTS, load_export
from trackyard.recipes.datacomp.training.init_from import difference
from trackyard.recipes.datacomp.training.training import train
from trackyard.sealed import read_sealed, write_sealed

WORLD, SOFT = Cell(name="world", seed=42), Cell(name="soft_prompt", seed=42)
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def study(trained: Study, tmp_path: Path) -> Study:
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs"))
    return study_at(tmp_path)


def rewritten(study: Study, change: Callable[[Tensors], None]) -> None:
    """An export with other tensors and a document that fits them: only its keys and shapes are wrong."""
    folder = study.export(WORLD)
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    body = read_sealed(folder / CONFIG, SCHEMA, fix="")
    counts = {name: tensor.numel() for name, tensor in tensors.items()}
    write_sealed(folder / CONFIG, SCHEMA, body | {"weights": digest_file(folder / WEIGHTS), "counts": counts})


def redescribed(study: Study, group: str, **changes: Any) -> None:
    folder = study.export(WORLD)
    body = read_sealed(folder / CONFIG, SCHEMA, fix="")
    body["belongs"][group] |= changes
    write_sealed(folder / CONFIG, SCHEMA, body)


def test_an_export_gives_the_weights_of_the_run(study: Study) -> None:
    branch, tensors = load_export(study, WORLD), load_file(study.export(WORLD) / WEIGHTS)
    assert isinstance(branch, WorldBranch)
    assert {f"world.{name}" for name, _ in branch.named_parameters()} == tensors.keys()
    assert all(torch.equal(weight, tensors[f"world.{name}"]) for name, weight in branch.named_parameters())
    free = load_export(study, SOFT)
    assert isinstance(free, SoftPrompt)
    assert torch.equal(free.boundaries, image_markers(load_gemma(study, torch.device("cpu"))))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda tensors: tensors.pop("world.gamma"), "world.gamma is missing"),
        (lambda tensors: tensors.update({"world.more": torch.ones(1)}), "world.more has no place"),
        (lambda tensors: tensors.update({"world.gain": tensors.pop("world.gamma")}), "world.gamma is missing"),
        (lambda tensors: tensors.update({"world.gamma": torch.ones(2)}), r"\(2,\) into \(1,\)"),
    ],
    ids=["missing", "extra", "renamed", "shape"],
)
def test_other_tensors_are_refused(study: Study, change: Callable[[Tensors], None], problem: str) -> None:
    rewritten(study, lambda tensors: None)
    load_export(study, WORLD)
    rewritten(study, change)
    with pytest.raises(CheckpointError, match=problem):
        load_export(study, WORLD)


@pytest.mark.parametrize(
    ("group", "changes"),
    [
        ("base", {"gemma": f"google/gemma-3-4b-it@{'0' * 40}"}),
        ("base", {"vae_digest": "0" * 64}),
        ("latents", {"preprocessing": "squash-bicubic/0"}),
        ("world", {"mode": "pooled4"}),
        ("prompt", {"question": "What?"}),
    ],
)
def test_another_base_latent_or_prompt_is_refused_by_name(study: Study, group: str, changes: dict[str, str]) -> None:
    redescribed(study, group, **changes)
    with pytest.raises(IdentityError, match=rf"{group}\.{next(iter(changes))}: "):
        load_export(study, WORLD)


def test_an_absent_or_altered_export_is_an_error(study: Study) -> None:
    folder = study.export(WORLD)
    (folder / CONFIG).write_text((folder / CONFIG).read_text().replace('"seed": 42', '"seed": 43'))
    with pytest.raises(DataError, match="was altered"):
        load_export(study, WORLD)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError) as raised:
        load_export(study, WORLD)
    assert raised.value.fix == "dvc repro pipelines/datacomp/dvc.yaml:train@world-42"


def test_a_stage_transition_starts_from_an_export_and_thaws_more(study: Study) -> None:
    begun = {"training.init_from": "artifacts/datacomp/export/world/42", "training.expected_trainable": 33_921}
    same = study_at(study.root, begun)
    with pytest.raises(ConfigError, match="is where world-42 puts its export"):
        train(same, WORLD, silent, PARAMETERS)
    shutil.copytree(study.export(WORLD), study.root / "earlier")
    gemma = load_gemma(study, torch.device("cpu"))
    language = sum(weight.numel() for weight in gemma.model.language_model.parameters())
    thawed = begun | {
        "training.init_from": "earlier",
        "training.thawed_rates": {"gemma_language": 1e-4},
        "training.expected_trainable": 33_921 + language,
        "training.epochs": 1,
    }
    said: list[str] = []
    train(study_at(study.root, thawed), WORLD, said.append, PARAMETERS)
    assert any(line.startswith("start     + thawed.gemma_language.") for line in said)
    assert f"start     {33_921 + language:,} trained parameters, 33,921 in the export" in said
    wrong = thawed | {"training.expected_trainable": 33_920 + language, "training.epochs": 2}
    with pytest.raises(IdentityError, match=r"\+1"):
        train(study_at(study.root, wrong), WORLD, silent, PARAMETERS)


def test_a_path_to_start_from_that_is_absent_is_never_a_fresh_start(study: Study) -> None:
    absent = {"training.init_from": "nowhere", "training.expected_trainable": 33_921}
    with pytest.raises(CheckpointError, match="holds no"):
        train(study_at(study.root, absent), WORLD, silent, PARAMETERS)
    assert not (study.runs / "datacomp").exists(), "no run has begun"


def test_the_difference_names_what_comes_and_goes() -> None:
    lines = difference({"a": torch.ones(2)}, {"b": torch.ones(3)})
    assert lines == ["+ b 3", "- a 2", "3 trained parameters, 2 in the export"]

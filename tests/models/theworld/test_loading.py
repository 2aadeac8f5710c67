"""Trained tensors go in exactly, or not at all."""

from __future__ import annotations

import pytest
import torch

from tests.models.theworld.tiny import world
from trackyard.errors import CheckpointError
from trackyard.models.theworld.loading import load_exact, trained_tensors
from trackyard.models.theworld.parameters import WorldParameters

NAME = "world.projector.2.weight"


def test_what_is_exported_comes_back() -> None:
    one, _ = world(WorldParameters())
    other, _ = world(WorldParameters())
    tensors = {name: tensor + 1 for name, tensor in trained_tensors(one).items()}
    load_exact(other, tensors)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in trained_tensors(other).items())


def _missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[NAME]


def _extra(tensors: dict[str, torch.Tensor]) -> None:
    tensors["world.temporal"] = torch.zeros(2)


def _renamed(tensors: dict[str, torch.Tensor]) -> None:
    tensors["module." + NAME] = tensors.pop(NAME)


def _shape(tensors: dict[str, torch.Tensor]) -> None:
    tensors[NAME] = tensors[NAME][:1]


def _not_finite(tensors: dict[str, torch.Tensor]) -> None:
    tensors[NAME] = torch.full_like(tensors[NAME], torch.nan)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_missing, f"what: {NAME} is missing"),
        (_extra, "what: world.temporal has no place"),
        (_renamed, f"{NAME} is missing; module.{NAME} has no place"),
        (_shape, r"\(1, 32\) into \(32, 32\)"),
        (_not_finite, f"{NAME} is not finite"),
    ],
)
def test_anything_else_is_an_error_and_changes_nothing(damage: object, message: str) -> None:
    model, _ = world(WorldParameters())
    before = {name: tensor.clone() for name, tensor in trained_tensors(model).items()}
    tensors = {name: tensor + 1 for name, tensor in before.items()}
    damage(tensors)  # type: ignore[operator]
    with pytest.raises(CheckpointError) as raised:
        load_exact(model, tensors)
    raised.match(message)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained_tensors(model).items())

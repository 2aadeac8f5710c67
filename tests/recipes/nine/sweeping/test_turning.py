"""Knobs stand where a configuration wants them, and go back whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from tests.recipes.nine.made.small import parameters, rows
from trackyard.errors import ConfigError
from trackyard.evaluate.sweep.configuration import Configuration
from trackyard.models.knobs import decoder_blocks
from trackyard.recipes.nine.made.model import made_tokens, random_made
from trackyard.recipes.nine.sweeping.turning import turned

IDS = torch.arange(20, 32)[None]


@cache
def model() -> Any:
    made = parameters()
    return random_made(made, made_tokens(rows(), made)).eval()


@torch.inference_mode()
def logits() -> torch.Tensor:
    found: torch.Tensor = model()(input_ids=IDS).logits
    return found


def answered(configuration: Configuration) -> torch.Tensor:
    with turned(model(), configuration):
        return logits()


@pytest.mark.parametrize(
    "configuration",
    [Configuration(), Configuration(visual=2), Configuration(blocks=(0, 1, 2, 3)), Configuration(experts=3)],
)
def test_the_models_own_state_is_the_model_bit_for_bit(configuration: Configuration) -> None:
    """Three experts per token and four blocks are what it has; the visual knob is one of prompts."""
    assert torch.equal(answered(configuration), logits())


def test_blocks_and_experts_act_each_and_together() -> None:
    found: Sequence[torch.Tensor] = [
        answered(configuration)
        for configuration in (
            Configuration(),
            Configuration(blocks=(0, 2, 3)),
            Configuration(blocks=(0, 1, 3)),
            Configuration(experts=1),
            Configuration(experts=1, blocks=(0, 2, 3)),
        )
    ]
    for number, one in enumerate(found):
        assert not any(torch.equal(one, other) for other in found[number + 1 :])


def test_a_block_that_is_left_out_has_no_influence() -> None:
    before, whole = answered(Configuration(blocks=(0, 2, 3))), logits()
    weight = next(decoder_blocks(model())[1].parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(3)
    try:
        assert torch.equal(answered(Configuration(blocks=(0, 2, 3))), before)
        assert not torch.equal(logits(), whole)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_knobs_go_back_after_an_error() -> None:
    whole = logits()
    with pytest.raises(KeyError), turned(model(), Configuration(experts=1, blocks=(0, 3))):
        raise KeyError
    assert torch.equal(logits(), whole)


def test_a_model_without_experts_is_refused() -> None:
    with pytest.raises(ConfigError), turned(nn.Linear(2, 2), Configuration(experts=2)):
        pass

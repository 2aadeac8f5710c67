"""Counts of the real configuration without a weight, and an audit that notices what should not be trained."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import pytest
import torch
from torch import nn

from tests.models.theworld.tiny import LATENT, WIDTH, world
from trackyard.errors import IdentityError
from trackyard.feed.world_prompts import PromptLayout
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch
from trackyard.models.theworld.counts import gemma_counts, meta_gemma, require_counts, trained_counts
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import (
    Mode,
    ProjectorKind,
    WorldParameters,
    expected_trainable,
    inserted_tokens,
    tokens_of,
    total_trainable,
)

REAL, REAL_WIDTH, FIRST = (16, 64, 64), 2560, 262_145
"""Latents of 512 x 512 pixels; width of Gemma 3 4B, and length of its tokenizer."""


@cache
def real_gemma() -> Any:
    return meta_gemma()


def layout(world_tokens: int) -> PromptLayout:
    return PromptLayout(
        image_tokens=256, world_tokens=world_tokens, image_id=262_144, start_id=FIRST, end_id=FIRST + 1,
        world_id=FIRST + 2, pad_id=0, stop_ids=(106, 1),
    )  # fmt: skip


def test_gemma_3_4b() -> None:
    gemma, text = real_gemma(), real_gemma().config.text_config
    assert gemma_counts(gemma) == {
        "vision_tower": 416_866_032, "multi_modal_projector": 2_950_272, "language_model": 3_880_263_168,
    }  # fmt: skip
    assert sum(gemma_counts(gemma).values()) == sum(weight.numel() for weight in gemma.parameters()) == 4_300_079_472
    everywhere = [number for number, kind in enumerate(text.layer_types) if kind == "full_attention"]
    assert everywhere == [5, 11, 17, 23, 29]
    assert text.sliding_window == 1024
    assert gemma.get_input_embeddings().scalar_embed_scale == pytest.approx(50.596, abs=1e-3)


@pytest.mark.parametrize("kind", get_args(ProjectorKind))
@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_pair_in_front_of_the_real_model(mode: Mode, kind: ProjectorKind) -> None:
    cases = [WorldParameters(mode=mode, projector=kind)]
    if mode == "pooled4":
        cases.append(WorldParameters(mode=mode, projector=kind, fusion="add"))
    for parameters in cases:
        with torch.device("meta"):
            branch = WorldBranch(parameters, REAL, REAL_WIDTH, 1.0)
            model = TheWorld(real_gemma(), branch, layout(inserted_tokens(parameters, REAL)))
        assert trained_counts(model) == {"world": total_trainable(parameters, REAL, REAL_WIDTH)}
        require_counts(model, expected_trainable(parameters, REAL, REAL_WIDTH))


def test_the_default_a_soft_prompt_and_thawed_parts() -> None:
    parameters = WorldParameters()
    with torch.device("meta"):
        branch = WorldBranch(parameters, REAL, REAL_WIDTH, 1.0)
        free = SoftPrompt(tokens_of(parameters.mode, REAL)[0], torch.zeros(2, REAL_WIDTH), 1.0)
    assert trained_counts(TheWorld(real_gemma(), branch, layout(64))) == {"world": 9_185_281}
    assert trained_counts(TheWorld(real_gemma(), free, layout(64))) == {"world": 163_840}
    everything = TheWorld(meta_gemma(), branch, layout(64), thaw=("gemma_vision", "gemma_language"))
    assert trained_counts(everything) == {
        "world": 9_185_281, "gemma_vision": 419_816_304, "gemma_language": 3_880_263_168,
    }  # fmt: skip
    require_counts(everything, expected_trainable(parameters, REAL, REAL_WIDTH))


def test_dead_parameters_among_the_trained_ones_are_noticed() -> None:
    """A published system trained 73,296,659 parameters of a VAE decoder that no loss ever reached."""
    parameters = WorldParameters()
    model, _ = world(parameters)
    expected = expected_trainable(parameters, LATENT, WIDTH)
    require_counts(model, expected)
    with torch.device("meta"):
        model.decoder = nn.Linear(73_296_658, 1)
    with pytest.raises(IdentityError, match=r"decoder.weight: 73,296,658 trained, 0 expected"):
        require_counts(model, expected)


def test_a_tensor_that_is_left_out_is_noticed() -> None:
    parameters = WorldParameters()
    model, _ = world(parameters)
    model.world.boundaries.requires_grad_(False)  # type: ignore[union-attr, operator]
    with pytest.raises(IdentityError, match="boundaries: 0 trained, 64 expected"):
        require_counts(model, expected_trainable(parameters, LATENT, WIDTH))

"""What a run starts with: the base model, a branch drawn from the seed or read from an export, and counts that fit.

Source: theworld spec sections 4 to 6 and 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from trackyard.errors import ConfigError, IdentityError
from trackyard.feed.world_prompts import WorldPrompts
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch, r_text
from trackyard.models.theworld.counts import require_counts
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import expected_trainable, inserted_tokens
from trackyard.recipes.datacomp.base.loading import load_gemma, load_tokenizer
from trackyard.recipes.datacomp.cells import SOFT_PROMPT, Cell
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.init_from import take_over
from trackyard.snapshot.latent_facts import EncoderFacts

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """model: before its first update, on its device. counts: trained elements by tensor, as expected."""

    model: TheWorld
    counts: Mapping[str, int]
    r_text: float


def device() -> torch.device:
    """Where this rank computes."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def prompts_of(study: Study, tokenizer: Any, image_tokens: int, latent_shape: tuple[int, int, int]) -> WorldPrompts:
    """The builder of conversations with world tokens. image_tokens: of Gemma, per image."""
    world = study.parameters.world
    return WorldPrompts(
        tokenizer,
        image_tokens=image_tokens,
        world_tokens=inserted_tokens(world, latent_shape),
        placement=world.placement,
        block=world.block,
        max_length=world.max_length,
    )


def start_of(study: Study, cell: Cell, facts: EncoderFacts, say: Say = lambda _: None) -> Start:
    """The model of step 0, the same on every rank. facts: of the latents.

    IdentityError where names or counts of what is trained are not those of the configuration: the difference is in it.
    """
    if cell.seed is None:
        raise ConfigError(
            what=f"the run {cell.name} without a seed",
            why="its weights are drawn from one",
            fix="name a cell of datacomp.seeds in params.yaml",
        )
    parameters = study.parameters
    training = parameters.training
    gemma, tokenizer = load_gemma(study, device()), load_tokenizer(study)
    scale = r_text(gemma, tokenizer)
    kind = SoftPrompt if cell.name == SOFT_PROMPT else WorldBranch
    branch = kind.initial(parameters.world, facts.shape, gemma, scale, cell.seed)
    prompts = prompts_of(study, tokenizer, gemma.config.mm_tokens_per_image, facts.shape)
    model = TheWorld(gemma, branch, prompts.layout, thaw=tuple(training.thawed_rates))
    if training.init_from is not None:
        take_over(study, cell, model, say)
    width = gemma.get_input_embeddings().weight.shape[1]
    expected = expected_trainable(parameters.world, facts.shape, width, soft_prompt=cell.name == SOFT_PROMPT)
    counts = require_counts(model, expected)
    require_total(counts, training.expected_trainable)
    return Start(model=model.to_device(device()), counts=counts, r_text=scale)


def require_total(counts: Mapping[str, int], stated: int | None) -> None:
    """IdentityError unless as much is trained as the parameters state. stated: None where nothing is thawed."""
    total = sum(counts.values())
    if stated is not None and stated != total:
        raise IdentityError(
            what=f"{total:,} trained parameters, datacomp.training.expected_trainable={stated:,}: {total - stated:+,}",
            why="another part of the model would be trained than was meant",
            fix="correct datacomp.training in params.yaml (thawed_rates, expected_trainable)",
        )

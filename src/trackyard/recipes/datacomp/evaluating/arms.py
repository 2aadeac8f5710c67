"""From an arm and a seed to a model, its prompts, and what its branch is given. Source: theworld spec section 12.4.

off      stock Gemma, no world tokens: `base_gemma`; with a seed `no_world_tokens`, with what was thawed in its run
on       the trained projector, or one as training begins (`random_projection`), or free vectors (`soft_prompt`)
zeros, shuffled    the trained projector with latents that say nothing of the picture
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from trackyard.feed.world_prompts import WorldPrompts
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch, r_text
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import inserted_tokens
from trackyard.recipes.datacomp.base.loading import load_gemma, load_tokenizer
from trackyard.recipes.datacomp.cells import Arm, Cell, arm_named
from trackyard.recipes.datacomp.evaluating.latent_source import PictureLatents
from trackyard.recipes.datacomp.latents.opening import open_eval_latents
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.export import load_export, load_thawed

Source = Callable[[Sequence[str]], PictureLatents]
"""Latents for a set, by its distinct pictures."""


@dataclass(frozen=True, kw_only=True)
class Armed:
    """latents: as the arm gives them, None with the branch off; true: each picture's own, for the audit."""

    arm: Arm
    model: TheWorld
    prompts: WorldPrompts
    tokenizer: Any
    latents: Source | None
    true: Source | None


def device() -> torch.device:
    """Where models are evaluated."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_arm(study: Study, cell: Cell) -> Armed:
    """The model of an arm at a seed, frozen. CheckpointError, DataError or IdentityError for an export or latents that
    are absent or do not belong to the study."""
    arm, world, to = arm_named(cell.name), study.parameters.world, device()
    if to.type == "cpu":
        torch.set_num_threads(study.parameters.engine.threads)
    gemma, tokenizer = load_gemma(study, to), load_tokenizer(study)
    if arm.branch == "off":
        branch, latents = None, None
        tokens = 0
    else:
        latents = open_eval_latents(study)
        branch = _branch(study, arm, cell, gemma, tokenizer, latents.facts.shape)
        tokens = inserted_tokens(world, latents.facts.shape)
    prompts = WorldPrompts(
        tokenizer,
        image_tokens=gemma.config.mm_tokens_per_image,
        world_tokens=tokens,
        placement=world.placement,
        block=world.block,
        max_length=world.max_length,
    )
    trained = () if arm.run is None else tuple(study.parameters.training.thawed_rates)
    model = TheWorld(gemma, branch, prompts.layout, thaw=trained)
    if arm.run is not None:
        load_thawed(study, Cell(name=arm.run, seed=cell.seed), model.thawed)
    model.to_device(to)
    return Armed(
        arm=arm,
        model=model.eval().requires_grad_(False),
        prompts=prompts,
        tokenizer=tokenizer,
        latents=None if latents is None else partial(PictureLatents, latents, arm.branch),
        true=None if latents is None else partial(PictureLatents, latents, "on"),
    )


def _branch(
    study: Study, arm: Arm, cell: Cell, gemma: Any, tokenizer: Any, shape: tuple[int, int, int]
) -> WorldBranch | SoftPrompt:
    if arm.run is not None:
        return load_export(study, Cell(name=arm.run, seed=cell.seed))
    if cell.seed is None:
        raise ValueError(f"arm {arm.name} is drawn from a seed")
    return WorldBranch.initial(study.parameters.world, shape, gemma, r_text(gemma, tokenizer), cell.seed)

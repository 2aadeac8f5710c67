"""A tiny Gemma 3 with random weights, prompts for it, pictures and latents."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import torch

from tests.feed.gemma_tokenizer import gemma_tokenizer
from trackyard.feed.world_prompts import WorldPrompts
from trackyard.models.theworld.batch import WorldSample
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch, r_text
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import WorldParameters, inserted_tokens

CPU = torch.device("cpu")
WIDTH, SOFT, SIDE = 32, 16, 32
LATENT = (16, 16, 16)
WIDE, NARROW = 1024, 24
"""Windows: one that holds any prompt of these tests, one that holds none."""
QUESTIONS = ("Describe this image simply.", "Which one is left? (A) (B)", "What?", "Is the ball red or is it blue?")
ANSWERS = ("a red ball left of a blue ball", "(A)", "a ball", "it is blue")


@cache
def _gemma(window: int) -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    tokenizer = gemma_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        text_config={
            "hidden_size": WIDTH, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 16, "query_pre_attn_scalar": 16, "intermediate_size": 64, "initializer_range": 0.2,
            "vocab_size": len(tokenizer) + 64, "sliding_window": window,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        vision_config={
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
            "image_size": SIDE, "patch_size": 8, "vision_use_head": False,
        },
        mm_tokens_per_image=SOFT,
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
        image_token_index=ids("<image_soft_token>"),
    )  # fmt: skip
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).eval()
    # The stock class starts this one at zero: pictures would not matter.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.3)
    return model


def gemma(window: int = WIDE) -> Any:
    """The stock model, a new copy."""
    return deepcopy(_gemma(window))


def prompts(parameters: WorldParameters | None) -> WorldPrompts:
    """The builder for these parameters; None is the world off."""
    return WorldPrompts(
        gemma_tokenizer(),
        image_tokens=SOFT,
        world_tokens=0 if parameters is None else inserted_tokens(parameters, LATENT),
        placement="after_image" if parameters is None else parameters.placement,
        block="causal" if parameters is None else parameters.block,
    )


def world(
    parameters: WorldParameters | None,
    *,
    window: int = WIDE,
    thaw: Collection[str] = (),
    soft_prompt: bool = False,
    on: Any = None,
) -> tuple[TheWorld, WorldPrompts]:
    """A model as training starts, and its builder. on: a Gemma other than a new copy."""
    stock, builder = gemma(window) if on is None else on, prompts(parameters)
    branch: WorldBranch | SoftPrompt | None = None
    if parameters is not None:
        kind = SoftPrompt if soft_prompt else WorldBranch
        branch = kind.initial(parameters, LATENT, stock, r_text(stock, gemma_tokenizer()), 7)
    return TheWorld(stock, branch, builder.layout, thaw).eval(), builder


def samples(
    builder: WorldPrompts, *, answers: bool = False, images: Sequence[int] = (1, 1, 2, 1), seed: int = 0
) -> list[WorldSample]:
    """One sample for each of `images`; pictures and latents are random, the same for the same seed."""
    source = np.random.default_rng(seed)
    found = []
    for number, count in enumerate(images):
        answer = ANSWERS[number] if answers else None
        found.append(
            WorldSample(
                builder.build(QUESTIONS[number], images=count, answer=answer),
                source.uniform(-1, 1, (count, 3, SIDE, SIDE)).astype(np.float32),
                source.standard_normal((count, *LATENT)).astype(np.float16),
            )
        )
    return found


def without_latents(of: Sequence[WorldSample]) -> list[WorldSample]:
    return [sample._replace(latents=None) for sample in of]


def stock_logits(model: Any, sample: WorldSample, **changed: Any) -> torch.Tensor:
    """Of transformers' own forward [L, V]."""
    prompt = sample.prompt
    given: dict[str, Any] = {
        "input_ids": torch.from_numpy(prompt.input_ids)[None],
        "token_type_ids": torch.from_numpy(prompt.token_type_ids)[None],
        "pixel_values": torch.from_numpy(sample.pixels),
    }
    with torch.no_grad():
        logits: torch.Tensor = model(**given | changed).logits[0]
    return logits

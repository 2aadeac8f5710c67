"""Greedy answers of the stock model for a batch of prompts, left-padded and masked.

Source: molmo2 spec section 14 (inference), nine-datasets spec (identical answers at any batch size).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from trackyard.feed.batch import Pack, collate, stack_packs
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.sample import Sample
from trackyard.feed.tokens import TokenTable
from trackyard.models.pixels import normalise_patches


def _left_padded(sample: Sample, length: int, tokens: TokenTable, geometry: VisionGeometry) -> Pack:
    pack = collate([sample], length=len(sample.tree), pad=tokens.pad, geometry=geometry)
    fill = length - len(sample.tree)
    return replace(
        pack,
        input_ids=np.concatenate([np.full(fill, tokens.pad), pack.input_ids]),
        positions=np.concatenate([np.zeros(fill, dtype=np.int64), pack.positions]),
        segments=np.concatenate([np.full(fill, -1), pack.segments]),
        examples=np.concatenate([np.full(fill, -1), pack.examples]),
        visual_flags=np.concatenate([np.zeros(fill, dtype=np.bool_), pack.visual_flags]),
        targets=np.concatenate([np.full(fill, -100), pack.targets]),
        weights=np.concatenate([np.zeros(fill, dtype=np.float32), pack.weights]),
    )


@torch.inference_mode()
def generate(
    model: torch.nn.Module,
    prompts: Sequence[Sample],
    tokens: TokenTable,
    geometry: VisionGeometry,
    *,
    max_new_tokens: int,
) -> list[str]:
    """One greedy answer per prompt, without special tokens."""
    length = max(len(prompt.tree) for prompt in prompts)
    batch = stack_packs([_left_padded(prompt, length, tokens, geometry) for prompt in prompts], geometry=geometry)
    device = next(model.parameters()).device
    visual = {}
    if len(batch.visual.grids):
        visual = {
            "pixel_values": normalise_patches(torch.from_numpy(batch.visual.patches).to(device)),
            "image_token_pooling": torch.from_numpy(batch.visual.pooling).to(device),
            "image_grids": torch.from_numpy(batch.visual.grids).to(device),
        }
    out = model.generate(  # type: ignore[operator]
        input_ids=torch.from_numpy(batch.input_ids).to(device),
        attention_mask=torch.from_numpy(batch.examples >= 0).long().to(device),
        mm_token_type_ids=torch.from_numpy(batch.visual_flags).long().to(device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=tokens.eos,
        pad_token_id=tokens.pad,
        **visual,
    )
    answers: list[str] = tokens.tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)
    return answers

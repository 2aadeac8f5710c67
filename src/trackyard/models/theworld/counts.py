"""How many parameters Gemma 3 has in each part, by its configuration alone: no weight exists while they are counted.

A published system had 73 million dead parameters among its trained ones and wrong widths in its documentation.
Source: theworld spec sections 2, 6 and 16.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from trackyard.errors import IdentityError
from trackyard.models.theworld.model import TheWorld, thawable

GEMMA3_4B: Mapping[str, Any] = {
    "text_config": {
        "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "query_pre_attn_scalar": 256, "vocab_size": 262_208,
        "sliding_window": 1024,
    },
    "vision_config": {
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
        "image_size": 896, "patch_size": 14, "vision_use_head": False,
    },
    "mm_tokens_per_image": 256,
}  # fmt: skip
"""What decides the counts in the configuration of google/gemma-3-4b-it."""


def meta_gemma(config: Mapping[str, Any] = GEMMA3_4B) -> Any:
    """The stock class on the meta device. config: as in a config.json."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    with torch.device("meta"):
        return Gemma3ForConditionalGeneration(Gemma3Config(**config))


def gemma_counts(gemma: Any) -> dict[str, int]:
    """Parameters by part: vision tower, multimodal projector, language model with its tied head."""
    return {
        "vision_tower": _elements(gemma.model.vision_tower),
        "multi_modal_projector": _elements(gemma.model.multi_modal_projector),
        "language_model": _elements(gemma.model.language_model),
    }


def trained_counts(model: TheWorld) -> dict[str, int]:
    """Trained parameters by component."""
    found: Counter[str] = Counter()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            found[model.component_of(name)] += weight.numel()
    return dict(found)


def require_counts(model: TheWorld, expected_world: Mapping[str, int]) -> dict[str, int]:
    """Trained elements by tensor, if they are those that the configuration says; IdentityError with the difference.

    expected_world: from `expected_trainable`. Parts of Gemma that were thawed have their own counts.
    """
    parts = thawable(model.gemma)
    expected = dict(expected_world) | {
        f"thawed.{part}.{name}": weight.numel()
        for part in model.thawed
        for name, weight in parts[part].named_parameters()
    }
    found = {name: weight.numel() for name, weight in model.named_parameters() if weight.requires_grad}
    differences = [
        f"{name}: {found.get(name, 0):,} trained, {expected.get(name, 0):,} expected"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    if differences:
        raise IdentityError(
            what=f"{sum(found.values()):,} trained parameters, {sum(expected.values()):,} expected: "
            + "; ".join(differences[:8]),
            why="what is trained is not what the configuration describes",
            fix="correct datacomp.world in params.yaml, or what the model is made of",
        )
    return found


def _elements(module: torch.nn.Module) -> int:
    """Shared tensors count once."""
    return sum(weight.numel() for weight in module.parameters())

"""Whether a model can be shared by C ranks, from its configuration alone. No tensors.

Source: molmo2 spec section 12.
"""

from __future__ import annotations

from typing import Any

from trackyard.plan.context import Share, check_degree, padded_length

BLOCK = 128
"""Tokens of a tile's side of the mask: the flex kernels skip or do whole tiles of this size."""


def check_context(config: Any, *, degree: int, world: int, length: int, packs_per_step: int | None = None) -> Share:
    """One rank's share of a model at degree C, from its transformers configuration; needs neither weights nor ranks.

    world: processes. length: tokens of a pack, not yet padded. ConfigError if anything does not divide.
    """
    text = config.get_text_config()
    heads = int(text.num_attention_heads)
    whole = max(degree, 1)
    return check_degree(
        degree,
        heads=heads,
        # GPT-NeoX has no such field: as many as there are query heads.
        kv_heads=int(getattr(text, "num_key_value_heads", heads)),
        length=padded_length(length, whole, BLOCK),
        world=world,
        ranks=world // whole,
        packs_per_step=packs_per_step,
    )

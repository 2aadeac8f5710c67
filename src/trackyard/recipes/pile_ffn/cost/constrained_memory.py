"""What an arm's constraint holds in memory beside the free weights. Source: pile-ffn spec section 6."""

from __future__ import annotations

from trackyard.recipes.pile_ffn.cells import Arm
from trackyard.recipes.pile_ffn.cost.sizes import Size
from trackyard.train.parameters import EngineParameters

EFFECTIVE = 4 + 2
"""Bytes of an entry of W in fp32, as softplus gives it, and in bf16, as it is multiplied. A sign takes one."""


def entries(size: Size, variant: str) -> int:
    """Of the matrices of a variant (section 2)."""
    shape = size.shape
    one = shape.hidden * shape.ffn
    of_layer = {
        "mlp_in": one,
        "mlp_both": 2 * one,
        "mlp_in_attn_out": one + shape.hidden * shape.heads * shape.head_dim,
        "gated_updown": 2 * one,
        "gated_all": 3 * one,
    }
    return shape.layers * of_layer[variant]


def live_bytes(size: Size, arm: Arm, engine: EngineParameters) -> int:
    """At once in a forward pass: W of all layers, or of one where every layer is computed again; signs of all."""
    if arm.variant is None or arm.kind not in ("nonneg", "signfrozen"):
        return 0
    count = entries(size, arm.variant)
    signs = count if arm.kind == "signfrozen" else 0
    return signs + EFFECTIVE * (count // size.shape.layers if engine.activation_checkpointing == "full" else count)

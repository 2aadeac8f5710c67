"""Names of forms and variants, without tensors. Source: pile-ffn spec sections 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Form = Literal["nonneg", "signfrozen", "absinit"]
"""softplus(V); sgn(W0) * softplus(V); an unconstrained V that starts at abs(W0)."""
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Matrices by the end of their dotted name. families: `model_type` of the configurations that have them."""

    families: tuple[str, ...]
    suffixes: tuple[str, ...]


_NEOX, _GATED = ("gpt_neox",), ("llama", "qwen2")
VARIANTS: Mapping[str, Variant] = {
    "mlp_in": Variant(families=_NEOX, suffixes=("mlp.dense_h_to_4h",)),
    "mlp_both": Variant(families=_NEOX, suffixes=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")),
    "mlp_in_attn_out": Variant(families=_NEOX, suffixes=("mlp.dense_h_to_4h", "attention.dense")),
    "gated_updown": Variant(families=_GATED, suffixes=("mlp.up_proj", "mlp.down_proj")),
    "gated_all": Variant(families=_GATED, suffixes=("mlp.up_proj", "mlp.down_proj", "mlp.gate_proj")),
}
VARIANT_NAMES = tuple(VARIANTS)
FAMILIES = (*_NEOX, *_GATED)
"""`model_type` of every configuration that has matrices to constrain."""

"""Groups of AdamW by what may decay and how small an epsilon has to be.

Decay of V would pull softplus(V) towards ln 2 instead of 0. Gradients of V are those of W times W, so that the usual
epsilon outweighs them. Source: pile-ffn spec sections 3.1 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from trackyard.models.nonneg import constrained_modules
from trackyard.train.parameters import OptimiserParameters

FREE, MATRICES, OTHERS = "free", "matrices", "others"
"""Components: V of constrained weights; unconstrained matrices; biases, norms and the table of embeddings."""
FREE_EPS = 1e-12


def components(model: Any) -> dict[str, str]:
    """Component of every parameter, by its name in `named_parameters`.

    model: of transformers. A head that shares the table of embeddings is the table; one of its own is a matrix.
    """
    free = {f"{name}.parametrizations.weight.original" for name in constrained_modules(model)}
    table: nn.Parameter = model.get_input_embeddings().weight
    return {
        name: FREE if name in free else MATRICES if parameter.ndim >= 2 and parameter is not table else OTHERS
        for name, parameter in model.named_parameters()
    }


def group_settings(optimiser: OptimiserParameters) -> Mapping[str, Mapping[str, float]]:
    """AdamW's `weight_decay` and `eps` of each component."""
    return {
        FREE: {"weight_decay": 0.0, "eps": FREE_EPS},
        MATRICES: {"weight_decay": optimiser.weight_decay, "eps": optimiser.eps},
        OTHERS: {"weight_decay": 0.0, "eps": optimiser.eps},
    }

"""The attention of text layers, as transformers calls it: the mask that it is given, on one rank or on C of them.

Under context parallelism heads are traded for tokens and back by DeepSpeed's all-to-all, and the mask of the whole pack
is kept: DeepSpeed's own wrapper for transformers drops it (design section 7). Source: molmo2 spec section 12.

Shapes: N packs of L tokens; C ranks; H query heads, G key and value heads, of width E. Between layers L is the rank's
share of the tokens.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface
from transformers.integrations.flex_attention import flex_attention_forward

from trackyard.errors import ConfigError
from trackyard.models.context import ContextGroup

DENSE, BLOCKS = "trackyard_dense", "trackyard_blocks"
"""What transformers calls this function, by the kind of mask that it is given."""
WHOLE = 4096
"""Tokens up to which a dense mask is used at once; the kernel turns it into 4 bytes a pair and keeps them."""
ROWS = 1024
"""Queries at a time beyond that: 150 MB of mask for 36,864 keys instead of 5.4 GB in every layer."""


def attend(
    module: torch.nn.Module,
    query_NHLE: torch.Tensor,
    key_NGLE: torch.Tensor,
    value_NGLE: torch.Tensor,
    attention_mask: torch.Tensor | BlockMask | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    context: ContextGroup | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention output [N, L, H, E]. attention_mask: of the whole pack on every rank; ConfigError without one.

    context: what the caller passed to the model; None is a pack on one rank. The mask holds everything else that a
    model says about who sees whom (causality, sliding windows).
    """
    if dropout > 0:
        raise ConfigError(
            what=f"attention dropout of {dropout}",
            why="what is dropped would depend on the number of ranks, and so would the result",
            fix="set the model's attention_dropout to 0",
        )
    if attention_mask is None:
        raise ConfigError(
            what=f"{type(module).__name__} is called without a prepared mask",
            why="rows of a pack would see each other, silently",
            fix="pass trackyard.models.attention.attention_mask to the model, or load the model anew to generate",
        )
    mask = attention_mask

    def local(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """All tokens and some of the heads: [N, L, heads, E] in and out."""
        heads_first = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        if isinstance(mask, BlockMask):
            output: torch.Tensor = flex_attention_forward(module, *heads_first, mask, scaling=scaling)[0]
            return output
        return _dense(*heads_first, mask, scaling).transpose(1, 2).contiguous()

    tokens_first = query_NHLE.transpose(1, 2), key_NGLE.transpose(1, 2), value_NGLE.transpose(1, 2)
    if context is None:
        return local(*tokens_first), None
    return _exchanged(local, *tokens_first, context), None


def _exchanged(
    local: Any, query_NLHE: torch.Tensor, key_NLGE: torch.Tensor, value_NLGE: torch.Tensor, context: ContextGroup
) -> torch.Tensor:
    """`local` on all tokens and this rank's heads, between two exchanges of the group."""
    # Imported where it is used: it takes seconds.
    from deepspeed.sequence.layer import DistributedAttention

    # With fewer key heads than ranks, ranks hold copies; query head q reads key head q * G / H before and after.
    copies = max(1, context.degree // key_NLGE.shape[2])
    if copies > 1:
        key_NLGE, value_NLGE = (part.repeat_interleave(copies, dim=2) for part in (key_NLGE, value_NLGE))
    distributed = DistributedAttention(local, context.group, scatter_idx=2, gather_idx=1)
    output: torch.Tensor = distributed(query_NLHE, key_NLGE, value_NLGE, 0)
    return output


def _dense(
    query_NHLE: torch.Tensor, key_NGLE: torch.Tensor, value_NGLE: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Output [N, H, L, E] under a boolean mask [N, 1, L, L], in rows of queries where there are many."""
    copies = query_NHLE.shape[1] // key_NGLE.shape[1]
    key, value = (part.repeat_interleave(copies, dim=1) for part in (key_NGLE, value_NGLE))
    length = query_NHLE.shape[2]
    if length <= WHOLE:
        return F.scaled_dot_product_attention(query_NHLE, key, value, attn_mask=mask, scale=scaling)
    rows = [slice(at, min(at + ROWS, length)) for at in range(0, length, ROWS)]
    parts = [
        # Computed again in the backward pass: otherwise the kernel keeps the mask of all rows after all.
        checkpoint(
            _rows, query_NHLE[:, :, row], key, value, mask[:, :, row], scaling, use_reentrant=False,
            preserve_rng_state=False,
        )
        for row in rows
    ]  # fmt: skip
    return torch.cat(parts, dim=2)


def _rows(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Some queries; keys that none of them sees are left out: half of a causal pack, more of several rows."""
    # As bytes: the same as `any`, fifteen times faster.
    seen = mask.flatten(0, 2).view(torch.uint8).amax(dim=0).nonzero()
    keys = slice(int(seen[0]), int(seen[-1]) + 1)
    return F.scaled_dot_product_attention(
        query, key[:, :, keys], value[:, :, keys], attn_mask=mask[..., keys], scale=scaling
    )


for _name in (DENSE, BLOCKS):
    AttentionInterface.register(_name, attend)

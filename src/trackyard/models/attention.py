"""The attention mask of packed rows in the form that the model's attention takes: dense tensor or flex block mask.

The stock Molmo2 uses a prepared mask as it is, and its text layers choose the kernel by their own configuration; the
vision tower keeps `sdpa`, which its unmasked crops want. Nothing here falls back: a model whose text layers are set to
anything else is refused. Source: design section 7, molmo2 spec section 8.

Shapes: N packs of L tokens; B = ceil(L / BLOCK) blocks.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention.flex_attention import BlockMask

from trackyard.errors import ConfigError
from trackyard.feed.visibility import Flags, Visibility, may_attend

MaskKind = Literal["dense", "blocks"]
IMPLEMENTATIONS: dict[MaskKind, str] = {"dense": "sdpa", "blocks": "flex_attention"}
"""What transformers calls the attention that takes each kind of mask."""

BLOCK = 128
"""Tokens of a tile's side: the flex kernels skip or do whole tiles of this size."""


def mask_kind(device: torch.device) -> MaskKind:
    """The kind that training on a device wants: flex has no backward pass on the CPU, dense masks no room on a GPU."""
    kinds: dict[str, MaskKind] = {"cpu": "dense", "cuda": "blocks"}
    if device.type not in kinds:
        raise ConfigError(
            what=f"no attention mask is known for device {device.type!r}",
            why="a mask that the kernel ignores would let packed rows see each other, silently",
            fix=f"run on one of {', '.join(kinds)}",
        )
    return kinds[device.type]


def use_masks(model: torch.nn.Module, kind: MaskKind) -> None:
    """Set the text layers to the attention that takes this kind; vision tower and connector stay as they are."""
    stock: Any = getattr(model, "module", model)
    stock.set_attn_implementation({"text_config": IMPLEMENTATIONS[kind]})


def attention_mask(model: torch.nn.Module, visibility: Visibility, device: torch.device) -> torch.Tensor | BlockMask:
    """The mask of N packs in the kind that the model's text layers take. ConfigError if they take neither."""
    stock: Any = getattr(model, "module", model)
    implementation = stock.config.text_config._attn_implementation
    if implementation == IMPLEMENTATIONS["dense"]:
        return dense_mask(visibility, device)
    if implementation == IMPLEMENTATIONS["blocks"]:
        return block_mask(visibility, device)
    raise ConfigError(
        what=f"the model's text layers use attention {implementation!r}",
        why="it ignores the mask of packed rows or adds it to the scores: rows would see each other, silently",
        fix="load the model with one of the attentions " + ", ".join(IMPLEMENTATIONS.values()),
    )


def sent(array: NDArray[Any] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """A host array on its way to a device, without waiting for it; memory that is not pinned yet is pinned for it."""
    tensor = torch.as_tensor(array)
    if device.type == "cuda" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def dense_mask(visibility: Visibility, device: torch.device) -> torch.Tensor:
    """Boolean [N, 1, L, L], True where a query may attend a key."""
    return sent(visibility.dense()[:, None], device)


def block_mask(visibility: Visibility, device: torch.device) -> BlockMask:
    """Flex mask of [N, 1, L, L]: two integers per token, and a table of which tiles are empty, partial or full.

    The tables are counted on the host, exactly: asking the rule for every pair on the device, as torch's own builder
    does, takes several times L^2 bytes.
    """
    levels_NL, spans_NL = sent(visibility.levels, device), sent(visibility.spans, device)

    def mask_mod(b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        allowed: torch.Tensor = may_attend(q, k, levels_NL[b, q], levels_NL[b, k], spans_NL[b, q], spans_NL[b, k])
        return allowed

    length = visibility.levels.shape[1]
    pairs_NBB = visibility.block_pairs(BLOCK)
    full_NBB = pairs_NBB == BLOCK * BLOCK
    partial_NBB = (pairs_NBB > 0) & ~full_NBB
    kv, kv_full = _listed(partial_NBB, device), _listed(full_NBB, device)
    q, q_full = _listed(partial_NBB.swapaxes(1, 2), device), _listed(full_NBB.swapaxes(1, 2), device)
    return BlockMask((length, length), *kv, *kv_full, *q, *q_full, BLOCK_SIZE=(BLOCK, BLOCK), mask_mod=mask_mod)


def _listed(tiles_NBB: Flags, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """How many tiles each row has, int32 [N, 1, B], and which, in rising order before the others, [N, 1, B, B]."""
    counts = tiles_NBB.sum(axis=-1, dtype=np.int32)
    order = np.argsort(~tiles_NBB, axis=-1, kind="stable").astype(np.int32)
    return sent(counts[:, None], device), sent(order[:, None], device)

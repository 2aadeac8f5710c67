"""The attention mask of packed rows in the form that the model's attention takes: dense tensor or flex block mask.

The stock models use a prepared mask as it is, and their text layers choose the kernel by their own configuration; the
vision tower keeps `sdpa`, which its unmasked crops want. Nothing here falls back: a model whose text layers are set to
anything else is refused. Under context parallelism every rank builds the mask of the whole pack.
Source: design section 7, molmo2 spec sections 8 and 12.

Shapes: N packs of L tokens; B = ceil(L / BLOCK) blocks.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask

from trackyard.errors import ConfigError
from trackyard.feed.visibility import ROWS, Flags, Visibility, may_attend
from trackyard.models import attend
from trackyard.models.context import ContextGroup, degree_of
from trackyard.models.context_degree import BLOCK
from trackyard.models.sending import sent
from trackyard.plan.context import padded_length

MaskKind = Literal["dense", "blocks"]
IMPLEMENTATIONS: dict[MaskKind, str] = {"dense": attend.DENSE, "blocks": attend.BLOCKS}
"""What transformers calls our attention with each kind of mask; importing `attend` has registered it."""
STOCK: dict[MaskKind, str] = {"dense": "sdpa", "blocks": "flex_attention"}
"""Attentions of transformers that take the same masks, on one rank."""


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
    name = IMPLEMENTATIONS[kind]
    stock.set_attn_implementation({"text_config": name} if "text_config" in stock.config.sub_configs else name)


def used_kind(model: torch.nn.Module, context: ContextGroup | None = None) -> MaskKind:
    """The kind that the model's text layers take. ConfigError if they take neither, or cannot share a pack."""
    stock: Any = getattr(model, "module", model)
    implementation = stock.config.get_text_config()._attn_implementation
    for kind, name in IMPLEMENTATIONS.items():
        if implementation == name or (context is None and implementation == STOCK[kind]):
            return kind
    if implementation in STOCK.values():
        raise ConfigError(
            what=f"the model's text layers use attention {implementation!r} on {degree_of(context)} ranks",
            why="each rank would attend to its own tokens alone, silently",
            fix="call trackyard.models.attention.use_masks on the model before training",
        )
    raise ConfigError(
        what=f"the model's text layers use attention {implementation!r}",
        why="it ignores the mask of packed rows or adds it to the scores: rows would see each other, silently",
        fix="load the model with one of the attentions " + ", ".join(STOCK.values()),
    )


def packed_length(model: torch.nn.Module, length: int, context: ContextGroup | None) -> int:
    """Tokens of a pack once it is whole shares of the group's ranks and, for a block mask, whole blocks."""
    return padded_length(length, degree_of(context), BLOCK if used_kind(model, context) == "blocks" else 1)


def attention_mask(
    model: torch.nn.Module,
    visibility: Visibility,
    device: torch.device,
    *,
    context: ContextGroup | None = None,
    window: int | None = None,
) -> torch.Tensor | BlockMask:
    """The mask of N whole packs in the kind that the model's text layers take.

    window: how many tokens back a query sees, itself among them; a visual block is seen as a whole all the same.
    ConfigError as `used_kind`.
    """
    build = dense_mask if used_kind(model, context) == "dense" else block_mask
    return build(visibility, device, window)


def dense_mask(visibility: Visibility, device: torch.device, window: int | None = None) -> torch.Tensor:
    """Boolean [N, 1, L, L], True where a query may attend a key."""
    mask = visibility.dense()
    if window is not None:
        length = mask.shape[1]
        keys = np.arange(length)
        for spans_L, pack in zip(visibility.spans, mask, strict=True):
            for at in range(0, length, ROWS):
                rows = slice(at, at + ROWS)
                pack[rows] &= _near(keys[rows, None], keys[None], spans_L[rows, None], spans_L[None], window)
    return sent(mask[:, None], device)


def _near(q: Any, k: Any, span_q: Any, span_k: Any, window: int) -> Any:
    """Whether a sliding window lets a query see a key: near enough, or of the same visual block."""
    return (q - k < window) | ((span_q >= 0) & (span_q == span_k))


def block_mask(visibility: Visibility, device: torch.device, window: int | None = None) -> BlockMask:
    """Flex mask of [N, 1, L, L]: two integers per token, and a table of which tiles are empty, partial or full.

    The tables are counted on the host: asking the rule for every pair on the device, as torch's own builder does, takes
    several times L^2 bytes. They are exact but for a window, at whose edge a tile may be called partial that is empty
    or full.
    """
    levels_NL, spans_NL = sent(visibility.levels, device), sent(visibility.spans, device)

    def mask_mod(b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        span_q, span_k = spans_NL[b, q], spans_NL[b, k]
        allowed: torch.Tensor = may_attend(q, k, levels_NL[b, q], levels_NL[b, k], span_q, span_k)
        return allowed if window is None else allowed & _near(q, k, span_q, span_k, window)

    length = visibility.levels.shape[1]
    pairs_NBB = visibility.block_pairs(BLOCK)
    full_NBB = pairs_NBB == BLOCK * BLOCK
    some_NBB = pairs_NBB > 0
    if window is not None:
        blocks = np.arange(pairs_NBB.shape[1]) * BLOCK
        back_BB = blocks[:, None] - blocks[None]
        visual = _visual_blocks(visibility)
        some_NBB &= (back_BB - (BLOCK - 1) < window) | (visual[:, :, None] & visual[:, None])
        full_NBB &= back_BB + (BLOCK - 1) < window
    partial_NBB = some_NBB & ~full_NBB
    kv, kv_full = _listed(partial_NBB, device), _listed(full_NBB, device)
    q, q_full = _listed(partial_NBB.swapaxes(1, 2), device), _listed(full_NBB.swapaxes(1, 2), device)
    return BlockMask((length, length), *kv, *kv_full, *q, *q_full, BLOCK_SIZE=(BLOCK, BLOCK), mask_mod=mask_mod)


def _visual_blocks(visibility: Visibility) -> Flags:
    """Which blocks [N, B] hold a visual token."""
    starts = np.arange(0, visibility.spans.shape[1], BLOCK)
    found: Flags = np.maximum.reduceat(visibility.spans, starts, axis=1) >= 0
    return found


def _listed(tiles_NBB: Flags, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """How many tiles each row has, int32 [N, 1, B], and which, in rising order before the others, [N, 1, B, B]."""
    counts = tiles_NBB.sum(axis=-1, dtype=np.int32)
    order = np.argsort(~tiles_NBB, axis=-1, kind="stable").astype(np.int32)
    return sent(counts[:, None], device), sent(order[:, None], device)

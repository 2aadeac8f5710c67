"""Rows of a stock key-value cache: kept, cut on the left, and joined with others.

Every layer keeps everything (`DynamicCache` made without a configuration), also one with a sliding window, whose mask
says what is seen. A layer that wrote nothing, because a knob skips its block, stays empty.

Shapes of keys and values: N rows, H heads, T tokens, E.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from transformers import DynamicCache


def new_cache() -> Any:
    """Empty, and of no model in particular."""
    return DynamicCache()


def tokens_in(cache: Any) -> int:
    """T of the layers that wrote something; 0 before."""
    return max((int(layer.keys.shape[2]) for layer in cache.layers if layer.is_initialized), default=0)


def keep(cache: Any, rows: torch.Tensor, start: int) -> None:
    """Keep these rows (int64, on the cache's device), and of their tokens those from column `start` on."""
    for layer in cache.layers:
        if layer.is_initialized:
            layer.keys = layer.keys[:, :, start:].index_select(0, rows)
            layer.values = layer.values[:, :, start:].index_select(0, rows)


def join(cache: Any, other: Any) -> None:
    """Add the rows of another cache of the same model behind those of `cache`; the shorter ones are padded on the left.

    ValueError for caches that different blocks wrote.
    """
    length = max(tokens_in(cache), tokens_in(other))
    for layer, added in zip(cache.layers, other.layers, strict=True):
        if layer.is_initialized != added.is_initialized:
            raise ValueError("one cache has keys and values of a block that the other has none of")
        if layer.is_initialized:
            layer.keys = torch.cat([_padded(layer.keys, length), _padded(added.keys, length)])
            layer.values = torch.cat([_padded(layer.values, length), _padded(added.values, length)])


def _padded(states_NHTE: torch.Tensor, length: int) -> torch.Tensor:
    fill = length - states_NHTE.shape[2]
    return F.pad(states_NHTE, (0, 0, fill, 0)) if fill else states_NHTE

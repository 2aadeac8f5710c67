"""The language model of G1, its tokens and its sizes, the same for every contender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Size:
    """Windows of `length` tokens, `packs` of them a step, `micro_batch` at a time."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    length: int
    packs: int
    micro_batch: int


PYTHIA_1_4B = Size(vocab=50_304, hidden=2048, layers=24, heads=16, length=2048, packs=32, micro_batch=8)
"""Steps of 65,536 tokens."""
TINY = Size(vocab=256, hidden=32, layers=2, heads=2, length=32, packs=4, micro_batch=2)
RATE, BETAS, EPS, CLIP = 1e-4, (0.9, 0.95), 1e-6, 1.0


def size_of(tiny: bool) -> Size:
    return TINY if tiny else PYTHIA_1_4B


def model_of(size: Size, device: torch.device, attention: str) -> Any:
    """GPT-NeoX with random fp32 weights that depend on the kind of device only."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=size.vocab,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
        max_position_embeddings=size.length,
        use_cache=False,
    )
    config._attn_implementation = attention
    torch.manual_seed(SEED)
    with device:
        return GPTNeoXForCausalLM(config)


def windows_of(size: Size, steps: int, *, packs: int | None = None) -> NDArray[np.int64]:
    """int64 [steps, packs, length + 1]."""
    shape = (steps, packs or size.packs, size.length + 1)
    return np.random.default_rng(SEED).integers(0, size.vocab, shape, dtype=np.int64)

"""Tiny language models of the study's families, random and in fp32: 2 layers of width 32."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY, LAYERS = 96, 2
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "intermediate_size": 64,
}  # fmt: skip
FAMILIES: dict[str, tuple[Any, Any]] = {
    "gpt_neox": (GPTNeoXForCausalLM, GPTNeoXConfig(**_SIZES)),
    "llama": (LlamaForCausalLM, LlamaConfig(**_SIZES, num_key_value_heads=2)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**_SIZES, num_key_value_heads=2, tie_word_embeddings=True)),
    "gpt2": (GPT2LMHeadModel, GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=LAYERS, n_head=4)),
}
ARMS = [
    ("gpt_neox", "mlp_in", 2),
    ("gpt_neox", "mlp_both", 4),
    ("gpt_neox", "mlp_in_attn_out", 4),
    ("llama", "gated_updown", 4),
    ("llama", "gated_all", 6),
    ("qwen2", "gated_updown", 4),
    ("qwen2", "gated_all", 6),
]
"""Family, variant, matrices."""


def tiny(family: str, seed: int = 0) -> Any:
    """The same weights for the same seed."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    kind, config = FAMILIES[family]
    return kind(deepcopy(config)).eval()


def tokens(count: int = 24) -> torch.Tensor:
    """Ids [2, count]."""
    return torch.randint(0, VOCABULARY, (2, count), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    """Of `tokens()`."""
    found: torch.Tensor = model(input_ids=tokens()).logits
    return found

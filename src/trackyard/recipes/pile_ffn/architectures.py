"""The study's models without weights, and their parameters counted. Source: pile-ffn spec section 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PretrainedConfig, Qwen2Config

from trackyard.recipes.pile_ffn.sizes import SIZES

TIED = frozenset({"llama-3.2-1b", "llama-3.2-3b", "qwen2.5-1.5b"})
"""Sizes whose head is the table of embeddings."""

ROWS = {"pythia-6.9b": 50_432}
"""Rows of the table of embeddings where they are not `Transformer.vocab`: this size is padded further (section 2's P
is 2 x 4,096 x 128 above that of 50,304 rows)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Parameters of a model; shared ones once. ffn: with biases."""

    total: int
    ffn: int

    @property
    def ffn_share(self) -> float:
        """Of all parameters."""
        return self.ffn / self.total


def skeleton(name: str) -> Any:
    """A size of `SIZES` as the stock class of its family, on the meta device.

    Shapes and names are those of the published model; what has no influence on them is left at its default.
    """
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(_configuration(name))


def count(model: torch.nn.Module) -> Counts:
    """Parameters of a model of one of the study's families."""
    named = dict(model.named_parameters())
    return Counts(
        total=sum(parameter.numel() for parameter in named.values()),
        ffn=sum(parameter.numel() for name, parameter in named.items() if ".mlp." in name),
    )


def _configuration(name: str) -> PretrainedConfig:
    shape = SIZES[name].shape
    common: dict[str, Any] = {
        "vocab_size": ROWS.get(name, shape.vocab),
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn,
        "tie_word_embeddings": name in TIED,
    }
    if not shape.gated:
        return GPTNeoXConfig(**common)
    family = Qwen2Config if name.startswith("qwen") else LlamaConfig
    return family(**common, num_key_value_heads=shape.kv_heads)

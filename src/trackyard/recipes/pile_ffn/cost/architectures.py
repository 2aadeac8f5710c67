"""The study's models without weights, and their parameters counted. Source: pile-ffn spec section 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PretrainedConfig, Qwen2Config

from trackyard.recipes.pile_ffn.cost.sizes import SIZES


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
    size = SIZES[name]
    shape = size.shape
    common: dict[str, Any] = {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn,
        "tie_word_embeddings": size.tied,
    }
    if size.family == "gpt_neox":
        return GPTNeoXConfig(**common)
    family = Qwen2Config if size.family == "qwen2" else LlamaConfig
    return family(**common, num_key_value_heads=shape.kv_heads)

"""Tiny models of the families that have knobs: six blocks of width 32, random, in fp32."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SiglipVisionConfig,
)
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock

from tests.tiny_molmo2 import model as tiny_molmo2
from trackyard.models.knobs import decoder_blocks

VOCABULARY, DEPTH, EXPERTS, ROUTED = 96, 6, 4, 2
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": DEPTH, "num_attention_heads": 4,
    "intermediate_size": 32, "initializer_range": 0.2, "pad_token_id": 0,
}  # fmt: skip
_GROUPED: dict[str, Any] = {**_SIZES, "num_key_value_heads": 2, "head_dim": 8}
# A window that answers outgrow, and full attention at blocks 2 and 5 only.
_GEMMA: dict[str, Any] = {
    **_GROUPED,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
}
_PER_TOKEN: dict[str, Any] = {"num_experts_per_tok": ROUTED}


def _gemma_with_tower() -> Any:
    """Its vision tower has as many blocks as its decoder."""
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    return Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=Gemma3TextConfig(**_GEMMA),
            vision_config=vision,
            mm_tokens_per_image=4,
            boi_token_index=90,
            eoi_token_index=91,
            image_token_id=92,
        )
    )


DENSE: dict[str, Any] = {
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_GEMMA)),
    "gemma3_multimodal": _gemma_with_tower,
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_SIZES)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_GROUPED)),
    "molmo2": tiny_molmo2,
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_GROUPED)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_GROUPED)),
}
ROUTING: dict[str, Any] = {
    # As many experts as blocks, which must not be taken for blocks.
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**_GROUPED, **_PER_TOKEN, num_local_experts=DEPTH)),
    "olmoe": lambda: OlmoeForCausalLM(OlmoeConfig(**_GROUPED, **_PER_TOKEN, num_experts=EXPERTS)),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**_GROUPED, **_PER_TOKEN, num_experts=EXPERTS, moe_intermediate_size=16, mlp_only_layers=[1])
    ),
    "molmo2_with_experts": lambda: with_experts(tiny_molmo2()),
}
ALL = DENSE | ROUTING


def with_experts(model: Any) -> Any:
    """Another model's blocks with OLMoE's experts in the place of their feed-forward networks."""
    width = model.config.get_text_config().hidden_size
    config = OlmoeConfig(hidden_size=width, intermediate_size=16, num_experts=EXPERTS, **_PER_TOKEN)
    config._experts_implementation = "eager"
    for block in decoder_blocks(model):
        made: Any = block
        made.mlp = OlmoeSparseMoeBlock(config)
        for weight in made.mlp.parameters():
            torch.nn.init.normal_(weight, std=0.2)
    return model


def made(family: str, seed: int = 0) -> Any:
    """The same weights for the same seed."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return ALL[family]().eval()


def tokens(count: int = 12) -> torch.Tensor:
    """Ids [2, count], none of them a mark of an image or of padding."""
    return torch.randint(1, 88, (2, count), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor | None = None) -> torch.Tensor:
    """Of whole sequences, [2, T, V]."""
    found: torch.Tensor = model(input_ids=tokens() if ids is None else ids, use_cache=False).logits
    return found


@torch.no_grad()
def decoded(model: Any, ids: torch.Tensor, *, prompt: int) -> tuple[torch.Tensor, Any]:
    """The same, a prompt at once and then token by token over the cache; and the cache."""
    out = model(input_ids=ids[:, :prompt], use_cache=True)
    cache, steps = out.past_key_values, [out.logits]
    forward = partial(model, past_key_values=cache, use_cache=True)
    steps += [forward(input_ids=ids[:, number : number + 1]).logits for number in range(prompt, ids.shape[1])]
    return torch.cat(steps, dim=1), cache


def per_token(model: torch.nn.Module) -> set[int]:
    """Experts that each router of a model sends a token to, as it is now."""
    routers = [part for part in model.modules() if isinstance(getattr(part, "num_experts", None), int)]
    return {part.top_k for part in routers if isinstance(getattr(part, "top_k", None), int)}

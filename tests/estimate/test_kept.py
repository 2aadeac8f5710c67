"""What a layer keeps for the backward pass, beside what autograd really keeps in the stock layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import Gemma3TextConfig, GPTNeoXConfig, Molmo2Config
from transformers.models.gemma3.modeling_gemma3 import Gemma3DecoderLayer
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXLayer
from transformers.models.molmo2.modeling_molmo2 import Molmo2DecoderLayer

from trackyard.estimate.kept import Kept, decoder, encoder, frozen_decoder
from trackyard.train.flops import Transformer

TOKENS = 256
DECODER = Transformer(layers=1, hidden=64, heads=4, kv_heads=2, head_dim=16, ffn=160, gated=True)
NEOX = Transformer(layers=1, hidden=64, heads=4, kv_heads=4, head_dim=16, ffn=256, gated=False)


def saved(layer: torch.nn.Module, run: Callable[[torch.Tensor], Any], dtype: torch.dtype) -> float:
    """Bytes per position that the backward pass of `run` needs, weights and what all layers share left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.shape.numel() >= TOKENS * 16:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    states = torch.randn(1, TOKENS, 64, dtype=dtype, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        held = run(states)
    assert held is not None
    return sum(kept.values()) / TOKENS


def molmo2(dtype: torch.dtype) -> float:
    text = Molmo2Config(
        text_config={
            "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "intermediate_size": 160, "num_hidden_layers": 1, "vocab_size": 64, "additional_vocab_size": 128,
        }
    ).text_config  # fmt: skip
    text._attn_implementation = "sdpa"
    layer = Molmo2DecoderLayer(text, 0).to(dtype)
    angles = torch.zeros(1, TOKENS, 16, dtype=dtype)
    mask = torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool).tril()
    return saved(layer, lambda states: layer(states, position_embeddings=(angles, angles), attention_mask=mask), dtype)


def neox(dtype: torch.dtype) -> float:
    config = GPTNeoXConfig(
        hidden_size=64, num_attention_heads=4, intermediate_size=256, num_hidden_layers=1, vocab_size=64,
        hidden_dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    layer = GPTNeoXLayer(config, 0).to(dtype)
    angles = torch.zeros(1, TOKENS, 4, dtype=dtype)
    return saved(layer, lambda states: layer(states, attention_mask=None, position_embeddings=(angles, angles)), dtype)


def gemma(dtype: torch.dtype) -> float:
    config = Gemma3TextConfig(
        hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=160,
        num_hidden_layers=1, vocab_size=64, layer_types=["full_attention"],
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    layer = Gemma3DecoderLayer(config, 0).to(dtype).requires_grad_(False)
    angles = torch.zeros(1, TOKENS, 16, dtype=dtype)
    return saved(layer, lambda states: layer(states, position_embeddings=(angles, angles), attention_mask=None), dtype)


@pytest.mark.parametrize(
    ("measured", "predicted"),
    [(molmo2, decoder(DECODER)), (neox, encoder(NEOX)), (gemma, frozen_decoder(DECODER))],
    ids=["molmo2", "gpt-neox", "frozen gemma"],
)
@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 4), (torch.bfloat16, 2)], ids=["fp32", "bf16"])
def test_prediction_and_autograd(
    measured: Callable[[torch.dtype], float], predicted: Kept, dtype: torch.dtype, width: int
) -> None:
    found = measured(dtype)
    assert predicted.bytes("none", width) == pytest.approx(found, rel=0.2)
    # What full checkpointing keeps is far from it.
    assert predicted.bytes("full", width) < 0.2 * found


def test_less_is_kept_the_more_is_computed_again() -> None:
    for kept in (decoder(DECODER), encoder(NEOX), frozen_decoder(DECODER)):
        assert kept.bytes("none", 2) > kept.bytes("selective", 2) > kept.bytes("full", 2)
        assert kept.bytes("full", 2) == 2 * 64

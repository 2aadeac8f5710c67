"""One micro-batch of windows through a language model, to the sum of its token losses.

Parameters are fp32; on a GPU products are computed in bf16 by autocast, softplus of free weights and losses in fp32.
Source: pile-ffn spec sections 4 and 6.

Shapes: N windows of L tokens; A targets; D hidden size.
"""

from __future__ import annotations

from typing import Any

import torch

from trackyard.models.sending import sent
from trackyard.models.text_packs import Answers, TextPacks, answers
from trackyard.train.flops import Transformer
from trackyard.train.loss import AnswerLoss, answer_loss, chunks_of


def forward(model: torch.nn.Module, packs: TextPacks, *, masked: bool, loss_chunk: int) -> AnswerLoss:
    """Cross-entropy summed over all targets, without any other term; the engine divides by their global number.

    masked: documents of a window do not see each other; else each window is one causal sequence, for which the stock
    attention needs no mask. loss_chunk: tokens whose logits exist at once.
    """
    stock: Any = getattr(model, "module", model)
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        found = answers(model, packs) if masked else _whole_windows(stock, packs, device)
        return answer_loss(
            found.hidden_AD,
            stock.get_output_embeddings(),
            found.targets_A,
            found.weights_A,
            chunks=chunks_of(found.tokens, loss_chunk),
            z_loss=0.0,
        )


def _whole_windows(stock: Any, packs: TextPacks, device: torch.device) -> Answers:
    """Every token of every window is a target."""
    hidden_NLD = stock.base_model(input_ids=sent(packs.input_ids, device), use_cache=False).last_hidden_state
    return Answers(
        hidden_AD=hidden_NLD.flatten(0, 1),
        targets_A=sent(packs.targets.reshape(-1), device),
        weights_A=sent(packs.weights.reshape(-1), device),
        tokens=packs.input_ids.size,
    )


def shape_of(config: Any) -> Transformer:
    """Widths of a model of one of the study's families, for counting its operations."""
    heads = int(config.num_attention_heads)
    return Transformer(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        ffn=config.intermediate_size,
        gated=config.model_type != "gpt_neox",
        vocab=config.vocab_size,
    )

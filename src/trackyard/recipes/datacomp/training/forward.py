"""One micro-batch through TheWorld, to the sum of its token losses.

Gemma is frozen in bf16 on a GPU, and what is trained stays fp32 under autocast. Source: theworld spec section 10.
"""

from __future__ import annotations

from typing import Any

import torch

from trackyard.models.theworld.batch import WorldBatch
from trackyard.train.loss import AnswerLoss, answer_loss, chunks_of


def forward(model: torch.nn.Module, batch: WorldBatch, *, loss_chunk: int) -> AnswerLoss:
    """Cross-entropy summed over all supervised tokens; the engine divides by their global number.

    loss_chunk: tokens whose logits exist at once, and only where something is learned.
    """
    stock: Any = getattr(model, "module", model)
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        found = stock.hidden(batch, device)
        return answer_loss(
            found.hidden_AD,
            stock.head,
            found.targets_A,
            found.weights_A,
            chunks=chunks_of(found.tokens, loss_chunk),
            z_loss=0.0,
        )


@torch.no_grad()
def supervised_logits(model: torch.nn.Module, batch: WorldBatch) -> torch.Tensor:
    """Logits [A, V] in fp32, where something is learned."""
    stock: Any = getattr(model, "module", model)
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        logits_AV: torch.Tensor = stock.head(stock.hidden(batch, device).hidden_AD)
    return logits_AV.float()

"""The weighted answer loss, in pieces: logits of a few answers exist at a time. Source: molmo2 spec section 10.

A pack of 36,864 tokens with a vocabulary of 262k would have 39 GB of logits in fp32 (performance spec section 9.8).

Shapes: A answer positions (weight > 0); D hidden size; V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

Z_LOSS = 1e-4
"""Weight of the squared log-partition term."""


@dataclass(frozen=True, kw_only=True)
class AnswerLoss:
    """total: sum of w * (CE + z) over answer positions, with gradient. cross_entropy [A], weight [A]: detached."""

    total: torch.Tensor
    cross_entropy: torch.Tensor
    weight: torch.Tensor


def chunks_of(tokens: int, chunk: int) -> int:
    """Pieces of a micro-batch of `tokens` tokens of which at most `chunk` have logits at once.

    The number follows from shapes alone, so that it is the same on every rank: ranks that divide the weights (ZeRO 3)
    meet at each use of the head.
    """
    return -(-tokens // chunk)


def answer_loss(
    hidden_AD: torch.Tensor,
    head: torch.nn.Module,
    targets_A: torch.Tensor,
    weight_A: torch.Tensor,
    *,
    chunks: int = 1,
    z_loss: float = Z_LOSS,
) -> AnswerLoss:
    """Unnormalised loss of the answer positions; the caller divides by the weight of the whole global batch.

    head: hidden states [A, D] to logits [A, V]. With several chunks the logits of each are dropped after use and
    computed again in the backward pass. z_loss: weight of the squared log-partition, 0 for the cross-entropy alone. A
    batch without answers has loss 0, and a gradient of 0 for every weight.
    """
    size = max(1, -(-len(hidden_AD) // chunks))
    totals, entropies = [], []
    for number in range(chunks):
        piece = slice(number * size, (number + 1) * size)
        parts = hidden_AD[piece], targets_A[piece], weight_A[piece], z_loss
        if chunks == 1:
            total, cross_entropy = _piece(head, *parts)
        else:
            total, cross_entropy = checkpoint(_piece, head, *parts, use_reentrant=False)
        totals.append(total)
        entropies.append(cross_entropy.detach())
    return AnswerLoss(total=torch.stack(totals).sum(), cross_entropy=torch.cat(entropies), weight=weight_A)


def _piece(
    head: torch.nn.Module, hidden_AD: torch.Tensor, targets_A: torch.Tensor, weight_A: torch.Tensor, z_loss: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logits_AV = head(hidden_AD).float()
    cross_entropy = F.cross_entropy(logits_AV, targets_A, reduction="none")
    penalty = z_loss * torch.logsumexp(logits_AV, dim=-1).square() if z_loss else 0.0
    return (weight_A * (cross_entropy + penalty)).sum(), cross_entropy

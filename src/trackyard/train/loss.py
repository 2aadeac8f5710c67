"""The weighted answer loss. Source: molmo2 spec section 10.

Shapes: N packs of T tokens; A answer positions (weight > 0); D hidden size; V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

Z_LOSS = 1e-4
"""Weight of the squared log-partition term."""


@dataclass(frozen=True, kw_only=True)
class AnswerLoss:
    """total: sum of w * (CE + z) over answer positions, with gradient. cross_entropy [A], weight [A]: detached."""

    total: torch.Tensor
    cross_entropy: torch.Tensor
    weight: torch.Tensor


def answer_loss(logits_AV: torch.Tensor, targets_A: torch.Tensor, weight_A: torch.Tensor) -> AnswerLoss:
    """Unnormalised loss of the answer positions; the caller divides by the weight of the whole global batch."""
    logits = logits_AV.float()
    log_partition = torch.logsumexp(logits, dim=-1)
    cross_entropy = F.cross_entropy(logits, targets_A, reduction="none")
    total = (weight_A * (cross_entropy + Z_LOSS * log_partition.square())).sum()
    return AnswerLoss(total=total, cross_entropy=cross_entropy.detach(), weight=weight_A)

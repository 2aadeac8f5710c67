"""What an attack does to a document: the rise of the loss where the attack wrote nothing. Pile-ffn spec section 8.1.

Shapes: N documents of T tokens; V vocabulary rows. Losses are in nats; position 0 is never predicted and has loss 0.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from trackyard.errors import DataError


def next_token_losses(logits_NTV: torch.Tensor, targets_NT: torch.Tensor) -> torch.Tensor:
    """-ln p of every target in fp32, [N, T]; logits [n, t] are those that predict targets [n, t]."""
    losses = F.cross_entropy(logits_NTV.float().flatten(0, 1), targets_NT.flatten(), reduction="none")
    return losses.view(targets_NT.shape)


def counted_targets(original_NT: torch.Tensor, attacked_NT: torch.Tensor, *, inserted: int = 0) -> torch.Tensor:
    """S of every document as flags over the attacked tokens: original targets that the attack left as they were.

    inserted: tokens put before the document. The first token of the original is no target, with or without them.
    """
    counted_NT = torch.zeros_like(attacked_NT, dtype=torch.bool)
    counted_NT[:, inserted:] = attacked_NT[:, inserted:] == original_NT
    counted_NT[:, inserted] = False
    return counted_NT


def aligned(clean_NT: torch.Tensor, *, inserted: int) -> torch.Tensor:
    """Clean losses at the places that their tokens have after `inserted` more tokens."""
    return F.pad(clean_NT, (inserted, 0))


def mean_loss(losses_NT: torch.Tensor, counted_NT: torch.Tensor) -> torch.Tensor:
    """Mean over the counted targets of each document, nats per token, fp64 [N]; DataError if one has none."""
    counts_N = counted_NT.sum(dim=1)
    if not bool((counts_N > 0).all()):
        raise DataError(
            what=f"document {int(counts_N.argmin())} of {len(counts_N)} has no target that the attack left alone",
            why="the loss is measured there, since a token that the attack wrote surprises any model",
            fix="attack documents that are longer than the number of flips, or lower `flips`",
        )
    return torch.where(counted_NT, losses_NT.double(), 0.0).sum(dim=1) / counts_N


def delta_nats(clean_NT: torch.Tensor, attacked_NT: torch.Tensor, counted_NT: torch.Tensor) -> torch.Tensor:
    """Delta of each document: mean rise of the loss on counted targets, nats per token, fp64 [N].

    Differences are taken before the mean, so that an attack without effect scores exactly 0. DataError for a loss that
    is not finite.
    """
    rise_NT = torch.where(counted_NT, attacked_NT.double() - clean_NT.double(), 0.0)
    if not bool(rise_NT.isfinite().all()):
        bad = int((~rise_NT.isfinite()).any(dim=1).nonzero()[0])
        raise DataError(
            what=f"document {bad} has a loss that is not finite",
            why="its rise is undefined, and a mean over the others would be of other documents",
            fix="run `trackyard data verify --models` on the export: its weights are not finite, or overflow",
        )
    return mean_loss(rise_NT, counted_NT)

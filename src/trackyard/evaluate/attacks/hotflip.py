"""Token flips that follow the gradient: all at once, or one after the other. Source: pile-ffn spec section 8.2.

Shapes: N documents of T tokens; K candidates of each; D hidden size.
"""

from __future__ import annotations

import torch

from trackyard.evaluate.attacks.budgets import AttackBudget
from trackyard.evaluate.attacks.candidates import Flips, Ranking
from trackyard.evaluate.attacks.metric import counted_targets, delta_nats
from trackyard.evaluate.attacks.outcome import AttackResult, Documents, flipped
from trackyard.evaluate.attacks.pool import TokenPool
from trackyard.evaluate.attacks.scoring import Remembered, Scorer


def one_shot(scorer: Scorer, documents: Documents, pool: TokenPool, budget: AttackBudget) -> AttackResult:
    """Replace the `flips` tokens with the largest gradients by their best first-order replacements, together."""
    documents = documents.first(budget.flip_docs, flips=budget.flips)
    ranking = Ranking(scorer.embedding_VD, pool)
    attacked_NT = documents.ids_NT.to(scorer.device).clone()
    for part in scorer.groups(*attacked_NT.shape):
        ids_NT = attacked_NT[part].clone()
        _, gradient_NTD = scorer.gradients(ids_NT, counted_targets(ids_NT, ids_NT), leading=ids_NT.shape[1] - 1)
        positions_NK = gradient_NTD.float().norm(dim=-1).topk(budget.flips, dim=1).indices
        for ids_T, gradient_TD, positions_K, into_T in zip(
            ids_NT, gradient_NTD, positions_NK, attacked_NT[part], strict=True
        ):
            scores_KP = ranking.scores(ids_T[positions_K], gradient_TD[positions_K])
            into_T[positions_K] = ranking.ids_P[scores_KP.argmax(dim=1)]
    return flipped("hotflip_one_shot", scorer, documents, attacked_NT, pool_digest=pool.digest)


def greedy(scorer: Scorer, documents: Documents, pool: TokenPool, budget: AttackBudget) -> AttackResult:
    """`flips` times: of the best first-order flips over all positions, apply the one that is best in truth.

    A position is flipped once. The best flip is applied even where all of them lower the loss.
    """
    documents = documents.first(budget.flip_docs, flips=budget.flips)
    ranking = Ranking(scorer.embedding_VD, pool)
    attacked_NT = documents.ids_NT.to(scorer.device).clone()
    clean_NT = scorer.exact(documents.ids_NT)
    for part in scorer.groups(*attacked_NT.shape):
        original_NT = attacked_NT[part].clone()
        for _ in range(budget.flips):
            ids_NT = attacked_NT[part]
            untouched_NT = ids_NT == original_NT
            remembered, gradient_NTD = scorer.gradients(
                ids_NT, counted_targets(original_NT, ids_NT), leading=ids_NT.shape[1] - 1
            )
            flips = ranking.best_flips(ids_NT[:, :-1], gradient_NTD, untouched_NT[:, :-1], budget.greedy_candidates)
            attacked_NT[part] = _best(scorer, flips, remembered, original_NT, clean_NT[part])
    return flipped("hotflip_greedy", scorer, documents, attacked_NT, pool_digest=pool.digest, clean_NT=clean_NT)


def _best(
    scorer: Scorer, flips: Flips, remembered: Remembered, original_NT: torch.Tensor, clean_NT: torch.Tensor
) -> torch.Tensor:
    """Documents with that one of their flips that raises the loss most, scored exactly."""
    documents, candidates = flips.tokens_NK.shape
    of_R = torch.arange(documents, device=original_NT.device).repeat_interleave(candidates)
    rows_RT = remembered.ids_NT[of_R].scatter(1, flips.positions_NK.view(-1, 1), flips.tokens_NK.view(-1, 1))
    losses_RT = scorer.losses(rows_RT, of_R, remembered)
    counted_RT = counted_targets(original_NT[of_R], rows_RT)
    chosen_N = delta_nats(clean_NT[of_R], losses_RT, counted_RT).view(documents, candidates).argmax(dim=1)
    return rows_RT.view(documents, candidates, -1)[torch.arange(documents, device=chosen_N.device), chosen_N]

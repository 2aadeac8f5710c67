"""Attacks without gradients, which every attack with gradients is measured against. Source: pile-ffn spec section 8.2.

Shapes: N documents of T tokens; K positions of each; C candidates.
"""

from __future__ import annotations

import numpy as np
import torch

from trackyard.evaluate.attacks.budgets import AttackBudget, generator
from trackyard.evaluate.attacks.metric import counted_targets, delta_nats
from trackyard.evaluate.attacks.outcome import AttackResult, Documents, flipped, triggered
from trackyard.evaluate.attacks.pool import TokenPool
from trackyard.evaluate.attacks.scoring import Scorer


def random_flips(
    scorer: Scorer, documents: Documents, pool: TokenPool, budget: AttackBudget, *, seed: int
) -> AttackResult:
    """`flips` uniform positions, without replacement, each a uniform token of the pool."""
    documents = documents.first(budget.flip_docs, flips=budget.flips)
    attacked_NT = documents.ids_NT.clone()
    for doc_id, ids_T in zip(documents.doc_ids, attacked_NT, strict=True):
        random = generator(seed, "random_flips", doc_id=doc_id)
        positions = random.choice(len(ids_T), budget.flips, replace=False)
        ids_T[torch.from_numpy(positions)] = torch.from_numpy(random.choice(pool.ids, budget.flips))
    return flipped("random_flips", scorer, documents, attacked_NT, pool_digest=pool.digest)


def random_triggers(
    scorer: Scorer, documents: Documents, pool: TokenPool, budget: AttackBudget, *, seed: int
) -> list[AttackResult]:
    """As many random prefixes as the budget says, each on the first `eval_docs` documents."""
    documents = documents.first(budget.eval_docs)
    clean_NT = scorer.exact(documents.ids_NT)
    found = []
    for number in range(budget.random_triggers):
        random = generator(seed, "random_trigger", restart=number)
        trigger = [int(token) for token in random.choice(pool.ids, budget.trigger_tokens)]
        found.append(
            triggered("random_trigger", scorer, documents, trigger, pool_digest=pool.digest, clean_NT=clean_NT)
        )
    return found


def query(scorer: Scorer, documents: Documents, pool: TokenPool, budget: AttackBudget, *, seed: int) -> AttackResult:
    """Random tokens at random positions, each kept when the document's own loss rises: sees losses, no gradients.

    Positions are drawn at random and tried from the last to the first, so what stands before a position is still
    clean when its turn comes: one clean run serves all. The best of a position's tokens is what trying them one by one
    and keeping each improvement ends with.
    """
    documents = documents.first(budget.query_docs, flips=budget.flips)
    attacked_NT = documents.ids_NT.to(scorer.device).clone()
    clean_NT = scorer.exact(documents.ids_NT)
    draws = [_draws(doc_id, attacked_NT.shape[1], pool, budget, seed=seed) for doc_id in documents.doc_ids]
    positions_NK = torch.from_numpy(np.stack([positions for positions, _ in draws])).to(scorer.device)
    tokens_NKC = torch.from_numpy(np.stack([tokens for _, tokens in draws])).to(scorer.device)
    for part in scorer.groups(*attacked_NT.shape):
        remembered = scorer.remember(documents.ids_NT[part])
        documents_N = torch.arange(len(remembered.ids_NT), device=scorer.device)
        of_R = documents_N.repeat_interleave(budget.query_candidates)
        best_N = torch.zeros(len(documents_N), dtype=torch.float64, device=scorer.device)
        for turn in range(budget.flips):
            ids_NT = attacked_NT[part]
            rows_RT = ids_NT[of_R].scatter(
                1, positions_NK[part, turn][of_R, None], tokens_NKC[part, turn].reshape(-1, 1)
            )
            losses_RT = scorer.losses(rows_RT, of_R, remembered)
            counted_RT = counted_targets(remembered.ids_NT[of_R], rows_RT)
            deltas_NC = delta_nats(clean_NT[part][of_R], losses_RT, counted_RT).view(len(documents_N), -1)
            found = deltas_NC.max(dim=1)
            rows_NCT = rows_RT.view(len(documents_N), budget.query_candidates, -1)
            better_N = found.values > best_N
            attacked_NT[part] = torch.where(better_N[:, None], rows_NCT[documents_N, found.indices], ids_NT)
            best_N = torch.where(better_N, found.values, best_N)
    return flipped("query", scorer, documents, attacked_NT, pool_digest=pool.digest, clean_NT=clean_NT)


def _draws(
    doc_id: str, length: int, pool: TokenPool, budget: AttackBudget, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [K], falling, and candidates [K, C] of one document."""
    random = generator(seed, "query", doc_id=doc_id)
    positions = random.choice(length, budget.flips, replace=False)
    return np.sort(positions)[::-1].copy(), random.choice(pool.ids, (budget.flips, budget.query_candidates))

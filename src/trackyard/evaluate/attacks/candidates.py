"""Which replacements look best to first order: <E_v - E_old, g>. Source: pile-ffn spec section 8.2.

Shapes: N documents; T positions; D hidden size; V vocabulary rows; P tokens of the pool; K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trackyard.evaluate.attacks.pool import TokenPool

NEVER = -torch.inf


@dataclass(frozen=True, kw_only=True)
class Flips:
    """K replacements of each document, best first: positions, token ids and first-order rises [N, K]."""

    positions_NK: torch.Tensor
    tokens_NK: torch.Tensor
    scores_NK: torch.Tensor


class Ranking:
    """First-order scores of the pool's tokens under one model."""

    def __init__(self, embedding_VD: torch.Tensor, pool: TokenPool) -> None:
        """embedding_VD: input embedding in fp32."""
        pool.check(len(embedding_VD))
        self._embedding_VD = embedding_VD.detach()
        self.ids_P = torch.from_numpy(pool.ids).to(embedding_VD.device)
        self._pool_PD = self._embedding_VD[self.ids_P]
        self._column_V = torch.full((len(embedding_VD),), -1, dtype=torch.int64, device=embedding_VD.device)
        self._column_V[self.ids_P] = torch.arange(len(self.ids_P), device=embedding_VD.device)

    def scores(self, old_T: torch.Tensor, gradient_TD: torch.Tensor) -> torch.Tensor:
        """<E_v - E_old, g> for every position and pool token [T, P]; never the token that is there."""
        gradient_TD = gradient_TD.float()
        stay_T = (self._embedding_VD[old_T] * gradient_TD).sum(dim=-1)
        scores_TP = gradient_TD @ self._pool_PD.T - stay_T[:, None]
        column_T = self._column_V[old_T]
        inside_T = (column_T >= 0).nonzero()[:, 0]
        scores_TP[inside_T, column_T[inside_T]] = NEVER
        return scores_TP

    def best_tokens(self, old: torch.Tensor, gradient_D: torch.Tensor, count: int) -> torch.Tensor:
        """The `count` best replacements of one token, best first; fewer where the pool has no more."""
        scores_P = self.scores(old[None], gradient_D[None])[0]
        found = scores_P.topk(min(count, len(scores_P)))
        return self.ids_P[found.indices[found.values > NEVER]]

    def best_flips(
        self, ids_NT: torch.Tensor, gradient_NTD: torch.Tensor, allowed_NT: torch.Tensor, count: int
    ) -> Flips:
        """The `count` best replacements over all allowed positions of each document.

        The best of all lie at the positions whose own best is highest, so only `count` rows are ordered. Documents go
        one by one: scores of all positions of one exist at once. All have the same number of allowed positions.
        """
        found = []
        for ids_T, gradient_TD, allowed_T in zip(ids_NT, gradient_NTD, allowed_NT, strict=True):
            scores_TP = self.scores(ids_T, gradient_TD)
            best_T = torch.where(allowed_T, scores_TP.amax(dim=1), NEVER)
            rows_K = best_T.topk(min(count, int(allowed_T.sum()))).indices
            top = scores_TP[rows_K].flatten().topk(min(count, len(rows_K) * (len(self.ids_P) - 1)))
            row_K, column_K = top.indices // len(self.ids_P), top.indices % len(self.ids_P)
            found.append((rows_K[row_K], self.ids_P[column_K], top.values))
        positions, tokens, scores = (torch.stack(part) for part in zip(*found, strict=True))
        return Flips(positions_NK=positions, tokens_NK=tokens, scores_NK=scores)

"""A universal trigger: one prefix that raises the loss of every document behind it. Source: pile-ffn spec section 8.2.

The gradient is taken again only after the trigger has changed, so an iteration that finds nothing better costs the next
one no gradient. The search is the same as with a gradient per iteration.

Shapes: N documents of T tokens; m trigger tokens; C candidates; D hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trackyard.evaluate.attacks.budgets import AttackBudget, generator
from trackyard.evaluate.attacks.candidates import Ranking
from trackyard.evaluate.attacks.metric import aligned, counted_targets, delta_nats
from trackyard.evaluate.attacks.outcome import AttackResult, Documents, triggered, with_prefix
from trackyard.evaluate.attacks.pool import TokenPool
from trackyard.evaluate.attacks.scoring import Remembered, Scorer


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """ids: m tokens. objective: mean Delta in nats per token on the documents of the search.

    restart: the one that found it. history: the objective after each iteration of that restart.
    """

    ids: tuple[int, ...]
    objective: float
    restart: int
    history: tuple[float, ...]


@dataclass(frozen=True)
class _Slope:
    """A trigger before the documents of the search: groups as they were run, and its gradient [m, D] summed."""

    groups: list[tuple[slice, Remembered]]
    gradient_mD: torch.Tensor
    objective: float


class _Search:
    def __init__(self, scorer: Scorer, documents: Documents, tokens: int) -> None:
        """tokens: m."""
        self._scorer = scorer
        self._ids_NT = documents.ids_NT.to(scorer.device)
        self._tokens = tokens
        self._clean_NT = aligned(scorer.exact(documents.ids_NT), inserted=tokens)
        self._counted_NT = counted_targets(self._ids_NT, with_prefix([0] * tokens, self._ids_NT), inserted=tokens)

    def slope(self, trigger: list[int]) -> _Slope:
        rows_NT = with_prefix(trigger, self._ids_NT)
        groups, gradients, deltas = [], [], []
        for part in self._scorer.groups(*rows_NT.shape):
            counted_NT = self._counted_NT[part]
            remembered, gradient_NmD = self._scorer.gradients(rows_NT[part], counted_NT, leading=self._tokens)
            groups.append((part, remembered))
            gradients.append(gradient_NmD.float().sum(dim=0))
            deltas.append(delta_nats(self._clean_NT[part], remembered.losses_NT, counted_NT))
        return _Slope(groups, torch.stack(gradients).sum(dim=0), float(torch.cat(deltas).mean()))

    def objectives(self, slope: _Slope, position: int, tokens_C: torch.Tensor) -> torch.Tensor:
        """Mean Delta over the documents with each candidate at `position`, fp64 [C]."""
        deltas = []
        for part, remembered in slope.groups:
            documents = len(remembered.ids_NT)
            rows_CNT = remembered.ids_NT.repeat(len(tokens_C), 1, 1)
            rows_CNT[:, :, position] = tokens_C[:, None]
            of_R = torch.arange(documents, device=rows_CNT.device).repeat(len(tokens_C))
            losses_RT = self._scorer.losses(rows_CNT.flatten(0, 1), of_R, remembered)
            found_R = delta_nats(self._clean_NT[part][of_R], losses_RT, self._counted_NT[part][of_R])
            deltas.append(found_R.view(len(tokens_C), documents))
        return torch.cat(deltas, dim=1).mean(dim=1)


def search_trigger(
    scorer: Scorer, documents: Documents, pool: TokenPool, budget: AttackBudget, *, seed: int
) -> Trigger:
    """The best trigger on the first `opt_docs` documents over all restarts."""
    ranking = Ranking(scorer.embedding_VD, pool)
    search = _Search(scorer, documents.first(budget.opt_docs), budget.trigger_tokens)
    found: list[Trigger] = []
    for restart in range(budget.restarts):
        random = generator(seed, "uat", restart=restart)
        trigger = [int(token) for token in random.choice(pool.ids, budget.trigger_tokens)]
        slope = search.slope(trigger)
        best, history, moved = slope.objective, [], False
        for iteration in range(budget.iterations):
            if moved:
                slope, moved = search.slope(trigger), False
            position = iteration % budget.trigger_tokens
            old = torch.tensor(trigger[position], device=scorer.device)
            tokens_C = ranking.best_tokens(old, slope.gradient_mD[position], budget.candidates)
            objectives_C = search.objectives(slope, position, tokens_C)
            chosen = int(objectives_C.argmax())
            if float(objectives_C[chosen]) > best:
                best, moved = float(objectives_C[chosen]), True
                trigger[position] = int(tokens_C[chosen])
            history.append(best)
        found.append(Trigger(ids=tuple(trigger), objective=best, restart=restart, history=tuple(history)))
    return max(found, key=lambda trigger: trigger.objective)


def universal_trigger(
    scorer: Scorer, search_on: Documents, report_on: Documents, pool: TokenPool, budget: AttackBudget, *, seed: int
) -> AttackResult:
    """Search on one list of documents, report on the first `eval_docs` of another."""
    trigger = search_trigger(scorer, search_on, pool, budget, seed=seed)
    return triggered("uat", scorer, report_on.first(budget.eval_docs), trigger.ids, pool_digest=pool.digest)

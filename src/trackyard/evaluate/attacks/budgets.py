"""How much an attack may try, and where its random numbers come from. Source: pile-ffn spec sections 8.2, 8.3, 8.4."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from trackyard.digest import digest_json
from trackyard.parameters import Parameters

LENGTH = 512
"""Tokens of an attacked document of the study; every document has exactly as many."""


class AttackBudget(Parameters):
    """What every attack of a run may try; the same for all arms."""

    restarts: int = Field(ge=1)
    iterations: int = Field(ge=1)
    """Trigger positions tried per restart, one after the other."""
    candidates: int = Field(ge=1)
    """C: tokens scored exactly per iteration of the trigger search."""
    opt_docs: int = Field(ge=1)
    eval_docs: int = Field(ge=1)
    flip_docs: int = Field(ge=1)
    query_docs: int = Field(ge=1)
    trigger_tokens: int = Field(default=10, ge=1)
    flips: int = Field(default=10, ge=1)
    greedy_candidates: int = Field(default=8, ge=1)
    """Flips scored exactly per greedy step."""
    query_candidates: int = Field(default=20, ge=1)
    """Tokens tried per position without gradients."""
    random_triggers: int = Field(default=20, ge=1)

    def trigger_token_forwards(self, length: int = LENGTH) -> int:
        """Tokens that the trigger search sends through the model: R * I * (3 + C) * documents * length.

        A gradient counts as three. Ours needs fewer: see `trackyard.evaluate.attacks.uat`.
        """
        return self.restarts * self.iterations * (3 + self.candidates) * self.opt_docs * length

    def query_forwards(self) -> int:
        """Forwards per document of the query control, with the clean and the final one."""
        return self.flips * self.query_candidates + 2

    def token_forwards(self, length: int = LENGTH) -> dict[str, int]:
        """Tokens that each attack sends through the model, counted like `trigger_token_forwards`.

        Flips that follow gradients and random ones: what is tried, without the clean and the final run.
        """
        return {
            "uat": self.trigger_token_forwards(length),
            "random_trigger": self.random_triggers * self.eval_docs * length,
            "hotflip_one_shot": 3 * self.flip_docs * length,
            "hotflip_greedy": self.flips * (3 + self.greedy_candidates) * self.flip_docs * length,
            "random_flips": self.flip_docs * length,
            "query": self.query_forwards() * self.query_docs * length,
        }


PRESETS: dict[str, AttackBudget] = {
    "smoke": AttackBudget(
        restarts=1, iterations=2, candidates=4, opt_docs=4, eval_docs=4, flip_docs=4, query_docs=2
    ),
    "sweep": AttackBudget(
        restarts=1, iterations=20, candidates=50, opt_docs=40, eval_docs=60, flip_docs=200, query_docs=50
    ),
    "full": AttackBudget(
        restarts=3, iterations=50, candidates=100, opt_docs=80, eval_docs=120, flip_docs=1000, query_docs=50
    ),
}  # fmt: skip


def generator(seed: int, attack: str, *, restart: int = 0, doc_id: str = "") -> np.random.Generator:
    """The random numbers of one search: Philox keyed by what it is for.

    The arm is no part of the key, so that arms get the same draws and pairs differ by the model only.
    """
    key = digest_json(["trackyard-attack", seed, attack, restart, doc_id])
    return np.random.Generator(np.random.Philox(key=int(key[:32], 16)))

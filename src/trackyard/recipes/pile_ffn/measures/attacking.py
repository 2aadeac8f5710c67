"""The stage `attack`: universal triggers and token flips on a cell's export, each beside its controls.

Two results, each made once: `attack_uat` (the trigger, random triggers) and `attack_hotflip` (one-shot, greedy, random
flips, queries). Source: pile-ffn spec sections 8 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from trackyard.evaluate.attacks.budgets import generator
from trackyard.evaluate.attacks.controls import query, random_flips, random_triggers
from trackyard.evaluate.attacks.hotflip import greedy, one_shot
from trackyard.evaluate.attacks.masking import averaged, gradient_masking_suspected
from trackyard.evaluate.attacks.outcome import Attack, AttackResult, Documents
from trackyard.evaluate.attacks.pool import TokenPool, token_pool
from trackyard.evaluate.attacks.scoring import Scorer
from trackyard.evaluate.attacks.uat import universal_trigger
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures.exports import PRECISION, device, export_inputs, load_exact
from trackyard.recipes.pile_ffn.measures.kept import measured
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import (
    TokenSet,
    attack_documents,
    load_tokenizer,
    open_set,
    slice_digest,
)

UAT, HOTFLIP = "attack_uat", "attack_hotflip"
Say = Callable[[str], None]


def attack(study: Study, cell: Cell, say: Say) -> None:
    """Attack the export of a cell. DataError or ConfigError if export, documents or budget do not fit together."""
    attacker = _Attacker(study, cell)
    weights = export_inputs(study, cell)
    for stage, names, make in (
        (UAT, ("uat_opt", "uat_eval"), attacker.triggers),
        (HOTFLIP, ("flip",), attacker.flips),
    ):
        sets = [open_set(study, name) for name in names]
        result = measured(
            study,
            stage,
            cell,
            inputs=weights | {path: digest for tokens in sets for path, digest in tokens.inputs(study).items()},
            make=partial(make, *sets),
            slice_digest=None if cell.seed is None else slice_digest(study, study.replicate(cell)),
            precision={**PRECISION, "search": _precision(search_dtype())},
            device=device().type,
        )
        say(f"{cell.name}: {_line(result.body)}")


def documents(tokens: TokenSet) -> Documents:
    """The documents of a set, under attack."""
    return Documents.of(attack_documents(tokens))


def scorer(study: Study, cell: Cell) -> Scorer:
    """The export of a cell, ready to be attacked. Gradients are taken by embeddings: nothing is kept for weights."""
    model = load_exact(study, cell).requires_grad_(False)
    return Scorer(model, batch_tokens=study.parameters.attacks.batch_tokens, search=search_dtype())


def search_dtype() -> torch.dtype:
    """Of matrix products while candidates are compared; what is reported is computed in fp32 everywhere."""
    return torch.bfloat16 if device().type == "cuda" else torch.float32


@dataclass(frozen=True)
class _Attacker:
    """A cell under attack; its model is loaded when the first attack needs it, and once."""

    study: Study
    cell: Cell

    @cached_property
    def scorer(self) -> Scorer:
        return scorer(self.study, self.cell)

    @cached_property
    def pool(self) -> TokenPool:
        return token_pool(load_tokenizer(self.study))

    @property
    def seed(self) -> int:
        return self.study.draws(self.cell)

    def triggers(self, opt: TokenSet, report: TokenSet) -> dict[str, Any]:
        """Body of `attack_uat`: searched on one set, reported on the other."""
        budget, search_on, report_on = self.study.parameters.attacks.allowed, documents(opt), documents(report)
        found = universal_trigger(self.scorer, search_on, report_on, self.pool, budget, seed=self.seed)
        controls = random_triggers(self.scorer, report_on, self.pool, budget, seed=self.seed)
        body = self._body([found, averaged(controls)], report_on)
        body["attacks"]["random_trigger"]["triggers"] = [
            {"ids": list(control.trigger_ids or ()), "mean_delta_nats": control.mean_delta_nats} for control in controls
        ]
        return body | {"gradient_masking_suspected": {"uat": gradient_masking_suspected(found, *controls)}}

    def flips(self, flip: TokenSet) -> dict[str, Any]:
        """Body of `attack_hotflip`."""
        budget, given = self.study.parameters.attacks.allowed, documents(flip)
        gradient = [search(self.scorer, given, self.pool, budget) for search in (one_shot, greedy)]
        controls = [search(self.scorer, given, self.pool, budget, seed=self.seed) for search in (random_flips, query)]
        suspected = {result.attack: gradient_masking_suspected(result, *controls) for result in gradient}
        return self._body([*gradient, *controls], given) | {"gradient_masking_suspected": suspected}

    def _body(self, results: Sequence[AttackResult], given: Documents) -> dict[str, Any]:
        """A block for each attack. Wherever documents come from, all have one length."""
        budget, length = self.study.parameters.attacks.allowed, given.ids_NT.shape[1]
        config = {
            "budget": budget.model_dump(mode="json"),
            "seed": self.seed,
            "document_tokens": length,
            "pool_tokens": len(self.pool.ids),
            "search": _precision(search_dtype()),
        }
        forwards = budget.token_forwards(length)
        return {
            "attacks": {
                result.attack: {
                    "config": config | {"token_forwards": forwards[result.attack]},
                    **result.body(rng=bootstrap_generator(self.seed, result.attack)),
                }
                for result in results
            }
        }


def bootstrap_generator(seed: int, attack: Attack) -> np.random.Generator:
    """The resamples of an attack's interval; the same for every arm."""
    return generator(seed, f"bootstrap of {attack}")


def _precision(dtype: torch.dtype) -> str:
    return "fp32" if dtype == torch.float32 else "bf16 autocast"


def _line(body: Mapping[str, Any]) -> str:
    """Nats per token of every attack of a result, and what is doubted."""
    rises = [f"{name} {block['mean_delta_nats']:+.4f}" for name, block in body["attacks"].items()]
    doubted = [name for name, suspected in body["gradient_masking_suspected"].items() if suspected]
    flag = f"; gradients may be masked: {', '.join(doubted)} did less than a control" if doubted else ""
    return f"{', '.join(rises)} nats per token{flag}"

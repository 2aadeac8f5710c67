"""Arms of a study against a reference, attack by attack, on the same documents. Torch is not imported.

A pair is a document: D_j = Delta_j(arm) - Delta_j(reference). Above 0 the arm was hurt more. One call is one family of
comparisons: Holm's correction is over all of its arms and attacks. Seeds are families of their own.
Source: pile-ffn spec section 8.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from trackyard.errors import DataError
from trackyard.evaluate.statistics import RESAMPLES, Interval, discordant, holm, mcnemar, paired_difference


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackOutcome:
    """What an attack did to an arm. deltas: by document id, rise of the loss in nats per token."""

    deltas: Mapping[str, float]

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> Self:
        """From what a stage's file says of an attack."""
        return cls(deltas={record["doc_id"]: record["delta"] for record in block["records"]})

    def success(self, tau: float) -> dict[str, bool]:
        """Whether each document lost at least `tau` nats per token."""
        return {doc_id: delta >= tau for doc_id, delta in self.deltas.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Arm `a` against arm `b`, the reference, under one attack.

    diff: mean of D_j in nats per token, with its interval; detectable: the true difference that this many documents
    would show four times in five. mcnemar_p: of the success rates at `tau` nats; holm_p: that one, corrected.
    """

    a: str
    b: str
    attack: str
    documents: int
    tau: float
    diff: float
    ci95: Interval
    detectable: float
    mcnemar_p: float
    holm_p: float


def compare(
    outcomes: Mapping[str, Mapping[str, AttackOutcome]],
    reference: str,
    *,
    tau: float,
    rng: Callable[[str, str], np.random.Generator],
    resamples: int = RESAMPLES,
) -> list[Comparison]:
    """Every arm but the reference with it, under every attack, in the order given.

    outcomes: arm -> attack -> outcome, of one seed. tau: nats per token from which on an attack succeeded on a
    document. rng: the generator of (arm, attack), so that no interval depends on what else is compared.
    DataError where the reference is absent or alone, an arm lacks an attack or has one more, or documents differ.
    """
    arms = [arm for arm in outcomes if arm != reference]
    if reference not in outcomes or not arms or not outcomes[reference]:
        raise DataError(
            what=f"a comparison with {reference!r} of {', '.join(outcomes) or 'no arms'}",
            why="nothing would be compared, and nothing is what a family of no comparisons proves",
            fix="run the attacks of all arms: dvc repro pipelines/pile_ffn/dvc.yaml",
        )
    for arm in arms:
        lone = sorted(outcomes[arm].keys() ^ outcomes[reference].keys())
        if lone:
            raise DataError(
                what=f"{', '.join(lone)} was run on one of {arm} and {reference} only",
                why="Holm's correction is over all arms and attacks, and a missing pair makes it too mild",
                fix=f"run the attacks of both again: dvc repro -f pipelines/pile_ffn/dvc.yaml:attack@{arm}",
            )
    pairs = [(arm, attack) for arm in arms for attack in outcomes[reference]]
    raw = {(arm, attack): _mcnemar(outcomes, arm, reference, attack, tau) for arm, attack in pairs}
    corrected = holm(raw)
    found = []
    for arm, attack in pairs:
        difference = paired_difference(
            outcomes[arm][attack].deltas,
            outcomes[reference][attack].deltas,
            rng=rng(arm, attack),
            resamples=resamples,
        )
        found.append(
            Comparison(
                a=arm,
                b=reference,
                attack=attack,
                documents=difference.documents,
                tau=tau,
                diff=difference.mean,
                ci95=difference.ci95,
                detectable=difference.detectable,
                mcnemar_p=raw[arm, attack],
                holm_p=corrected[arm, attack],
            )
        )
    return found


def _mcnemar(
    outcomes: Mapping[str, Mapping[str, AttackOutcome]], arm: str, reference: str, attack: str, tau: float
) -> float:
    b, c = discordant(outcomes[arm][attack].success(tau), outcomes[reference][attack].success(tau))
    return mcnemar(b, c)

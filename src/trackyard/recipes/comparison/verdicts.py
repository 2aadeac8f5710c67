"""What a comparison comes to, one sentence for each family of metrics and run, and never more than its tests show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trackyard.recipes.comparison.pairing import Found, Pair, Pairing, SharePair
from trackyard.record.comparing.comparison import Comparison
from trackyard.record.comparing.outcomes import TOLD, outcome_family

NO_CLAIM = "no samples of it are compared, and one seed each: no claim"
THESE = "of these two models; one seed each, so no claim about training again"

MOST_NAMED = 4
"""Metrics without a finding that are named one by one; the table has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """run: number of the run that is held against the first, from 0. text: the sentence."""

    family: str
    run: int
    text: str


def verdicts(comparison: Comparison, pairing: Pairing) -> tuple[Verdict, ...]:
    """Of every family that all runs have a metric or samples of, in the order in which families are told."""
    tested: list[Pair | SharePair] = [*pairing.pairs, *pairing.shares]
    families = {outcome.family for outcome in comparison.outcomes}
    families |= {family for one in tested if (family := outcome_family(one.metric)) is not None}
    return tuple(
        Verdict(family=family, run=number, text=_sentence(family, number, tested))
        for family in TOLD
        if family in families
        for number in range(1, len(comparison.runs))
    )


def _sentence(family: str, number: int, tested: Sequence[Pair | SharePair]) -> str:
    here = [one for one in tested if one.run == number and outcome_family(one.metric) == family]
    if not here:
        return NO_CLAIM
    parts = []
    kinds: tuple[Found, ...] = ("better", "worse", "higher", "lower")
    for kind in kinds:
        shown = [_named(one, family) for one in here if one.found == kind]
        if shown:
            parts.append(f"run {number + 1} is {kind} on {', '.join(shown)}")
    apart = len(parts)
    undecided = [one for one in here if one.found == "not told apart"]
    if len(undecided) > MOST_NAMED:
        found = [one.holm_p for one in undecided if isinstance(one, Pair)]
        least = f" (p={min(found):.2g} or more)" if len(found) == len(undecided) else ""
        parts.append(f"not told apart on {len(undecided)} {'other ' if apart else ''}metrics{least}")
    elif undecided:
        parts.append(f"not told apart on {', '.join(_named(one, family) for one in undecided)}")
    return "; ".join(parts) + (f" ({THESE})" if apart else "")


def _named(one: Pair | SharePair, family: str) -> str:
    name = one.metric.removeprefix(f"{family}/")
    return f"{name}: p={one.holm_p:.2g}" if isinstance(one, Pair) else f"{name}: intervals of counts"

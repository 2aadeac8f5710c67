"""How much of the order of graded sentences each layer keeps, beside two controls that keep none.

Directions are fitted on the final layer and read at every layer. Ties count as kept, as published: a model that no
longer tells sentences apart would score 1, and so would both controls; `tied` says how many there are.
Source: pile-ffn spec section 9.

Shapes: L layers; S sentences; N pairs of them; K directions; D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from trackyard.evaluate.attacks.budgets import generator
from trackyard.evaluate.order.corpus import LEVELS
from trackyard.evaluate.order.directions import fitted_directions, random_directions
from trackyard.evaluate.statistics import Interval, bootstrap_mean

TOLERANCE = 1e-6
"""A stronger sentence may lie this much lower."""

Pairs = Sequence[tuple[int, int]]
"""Places (weaker, stronger), those of a chain one after the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """By layer, the first one first. score: share of coordinates in order, mean over pairs; tied: share of those that
    lie within the tolerance of each other."""

    score: tuple[float, ...]
    ci95: tuple[Interval, ...]
    tied: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderProbe:
    """Of one pooling. The controls' scores are expected to be 0.5."""

    fitted: Curve
    random_directions: Curve
    shuffled_labels: Curve


def probe_order(
    states_LSD: torch.Tensor,
    *,
    fit: Pairs,
    scored: Pairs,
    seed: int,
    name: str,
    directions: int,
    steps: int,
    resamples: int,
) -> OrderProbe:
    """Fit on the final layer over the pairs `fit`, score every layer over the pairs `scored`.

    name: what is probed; with the seed it decides all draws, so that arms get the same ones. DataError as
    `fitted_directions`.
    """
    weak, strong = (list(places) for places in zip(*fit, strict=True))
    final = states_LSD[-1, weak], states_LSD[-1, strong]
    found = {}
    for kind in ("fitted", "random_directions", "shuffled_labels"):
        rng = generator(seed, f"probe_order/{name}/{kind}")
        if kind == "random_directions":
            directions_KD = random_directions(*final, count=directions, rng=rng)
        else:
            directions_KD = fitted_directions(
                *final, count=directions, rng=rng, steps=steps, shuffled=kind == "shuffled_labels"
            )
        found[kind] = _curve(
            states_LSD,
            directions_KD,
            scored,
            drawn="chains" if kind == "fitted" else "directions",
            key=(seed, f"probe_order/{name}/{kind}/interval"),
            resamples=resamples,
        )
    return OrderProbe(**found)


def in_order(differences_ND: torch.Tensor, directions_KD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether A (h_strong - h_weak) is at least -TOLERANCE, and whether it is within it [N, K].

    Differences are projected, not projections subtracted: that would lose what the tolerance is about.
    """
    rise_NK = differences_ND.double() @ directions_KD.T
    return rise_NK >= -TOLERANCE, rise_NK.abs() <= TOLERANCE


def _curve(
    states_LSD: torch.Tensor,
    directions_KD: torch.Tensor,
    pairs: Pairs,
    *,
    drawn: Literal["chains", "directions"],
    key: tuple[int, str],
    resamples: int,
) -> Curve:
    """drawn: what an interval resamples. Pairs of a chain share sentences, so chains are drawn whole; of a control,
    the directions are what is random, and around 0.5 whatever the sentences are."""
    weak, strong = (list(places) for places in zip(*pairs, strict=True))
    score, ci95, tied = [], [], []
    for number, states_SD in enumerate(states_LSD):
        ordered_NK, tied_NK = in_order(states_SD[strong].double() - states_SD[weak].double(), directions_KD)
        shares_NK = ordered_NK.double()
        units = shares_NK.mean(dim=0)
        if drawn == "chains":
            units = shares_NK.mean(dim=1).view(-1, LEVELS - 1).mean(dim=1)
        score.append(float(shares_NK.mean()))
        tied.append(float(tied_NK.double().mean()))
        ci95.append(bootstrap_mean(units.numpy(), rng=generator(*key, restart=number), resamples=resamples))
    return Curve(score=tuple(score), ci95=tuple(ci95), tied=tuple(tied))

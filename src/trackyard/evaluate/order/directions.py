"""Directions along which stronger sentences should lie higher: fitted ones, and two kinds that know nothing.

All is fp64 on the CPU and drawn from the caller's generator, so that a direction depends on the states only, and arms
are given the same draws. Source: pile-ffn spec section 9.

Shapes: N pairs; K directions; D width.
"""

from __future__ import annotations

import numpy as np
import torch

from trackyard.errors import DataError

STEPS = 300
LEARNING_RATE, L2 = 0.5, 0.01
"""Of plain gradient descent on the mean logistic loss + L2 / 2 * |w|^2."""
INIT = 0.01
"""Standard deviation of the first w."""
SHARE, FEWEST = 0.7, 20
"""Pairs that one direction is fitted on: this share of all, drawn with replacement, and no fewer than that."""
CONSTANT = 1e-6
"""A feature whose spread is below this share of the largest one is rounding, and no feature."""


def bootstrap_size(pairs: int) -> int:
    """Pairs drawn for one direction: 354 of 507."""
    return max(FEWEST, int(SHARE * pairs))


def fitted_directions(
    weak_ND: torch.Tensor,
    strong_ND: torch.Tensor,
    *,
    count: int,
    rng: np.random.Generator,
    steps: int = STEPS,
    shuffled: bool = False,
) -> torch.Tensor:
    """Unit directions w / sigma [K, D] of logistic classifiers of stronger against weaker states, each on a bootstrap.

    Features are z-scored over all states given. There is no intercept: both classes have one state of each pair, and
    features are centred. shuffled: a coin decides for every pair and direction which of its states is called the
    stronger one; whatever the states are, such a direction is as likely as its opposite. DataError if no feature
    differs between sentences.
    """
    pairs = len(weak_ND)
    mean_D, scale_D = _normalisation(weak_ND, strong_ND)
    features_MD = (torch.cat([strong_ND, weak_ND]).double() - mean_D) * scale_D
    size = bootstrap_size(pairs)
    drawn_KN = torch.from_numpy(rng.multinomial(size, np.full(pairs, 1 / pairs), size=count)).double()
    first_KN = torch.ones(count, pairs, dtype=torch.float64)
    if shuffled:
        first_KN = torch.from_numpy(rng.integers(2, size=(count, pairs))).double()
    weights_MK = torch.cat([drawn_KN, drawn_KN], dim=1).T / (2 * size)
    labels_MK = torch.cat([first_KN, 1 - first_KN], dim=1).T
    w_KD = torch.from_numpy(rng.normal(0, INIT, (count, features_MD.shape[1])))
    for _ in range(steps):
        errors_MK = weights_MK * (torch.sigmoid(features_MD @ w_KD.T) - labels_MK)
        w_KD = w_KD - LEARNING_RATE * (errors_MK.T @ features_MD + L2 * w_KD)
    return _unit(w_KD * scale_D)


def random_directions(
    weak_ND: torch.Tensor, strong_ND: torch.Tensor, *, count: int, rng: np.random.Generator
) -> torch.Tensor:
    """Unit directions [K, D]: a normal draw in place of w, so that they differ from fitted ones by the fit only."""
    _, scale_D = _normalisation(weak_ND, strong_ND)
    return _unit(torch.from_numpy(rng.normal(size=(count, len(scale_D)))) * scale_D)


def _normalisation(weak_ND: torch.Tensor, strong_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean, and 1 / sigma, which is 0 for a feature without spread."""
    both_MD = torch.cat([weak_ND, strong_ND]).double()
    sigma_D = both_MD.std(dim=0, correction=0)
    spread_D = sigma_D > CONSTANT * sigma_D.max()
    if not bool(spread_D.any()):
        raise DataError(
            what=f"the final states of {len(weak_ND)} pairs of sentences are all alike",
            why="a model that tells no sentence from another has no order to examine, and would keep every one",
            fix="verify the export that is probed",
        )
    return both_MD.mean(dim=0), torch.where(spread_D, 1 / sigma_D, torch.zeros_like(sigma_D))


def _unit(directions_KD: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(directions_KD, dim=1, eps=0.0)

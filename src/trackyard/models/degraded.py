"""A control that is only a worse model: noise on the same matrices until the validation loss is the constrained one's.

Without it, "harder to attack" cannot be told from "already wrong". Source: pile-ffn spec section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trackyard.digest import digest_json
from trackyard.errors import ConfigError, TrackyardError

TOLERANCE = 0.01
"""Nats by which the two validation losses may differ."""
EVALUATIONS = 20
FIRST_SIGMA = 0.25
"""First try, in units of each matrix's own root mean square."""


class UnmatchedError(TrackyardError):
    """No amount of noise was found that gives the wanted loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """The noise that was found. sigma: relative to each matrix's root mean square. nll, target: nats per token."""

    sigma: float
    nll: float
    target: float
    evaluations: int

    @property
    def gap(self) -> float:
        """How far the loss is from the wanted one, nats."""
        return abs(self.nll - self.target)

    def to_json(self) -> dict[str, Any]:
        """For documents."""
        return {
            "sigma": self.sigma,
            "nll": self.nll,
            "target": self.target,
            "gap": self.gap,
            "evaluations": self.evaluations,
        }


def match_noise(nll: Callable[[float], float], target: float) -> Matched:
    """Bisect sigma until nll(sigma) is the target, to TOLERANCE.

    nll: validation loss under noise of sigma, the same number for the same sigma; one that is no number counts as too
    high. sigma is doubled until it is too much, then halved in. Raises UnmatchedError after EVALUATIONS, or at once if
    the model is worse than the target without noise.
    """
    if not math.isfinite(target):
        raise ConfigError(
            what=f"the loss to be matched is {target}",
            why="every loss would be below or above it",
            fix="look at the eval_ppl stage of the constrained arm",
        )
    low, high, sigma = 0.0, math.inf, 0.0
    found = math.nan
    for number in range(1, EVALUATIONS + 1):
        found = nll(sigma)
        if abs(found - target) <= TOLERANCE:
            return Matched(sigma=sigma, nll=found, target=target, evaluations=number)
        if found < target:
            low = sigma
        elif sigma == 0.0:
            raise UnmatchedError(
                what=f"without noise the loss is {found:.4f} nats, above the {target:.4f} to be matched",
                why="noise makes a model worse, so this baseline cannot become as good as the constrained arm",
                fix="train the baseline of this seed to its full budget, or leave out the degraded arm and its claims",
            )
        else:
            high = sigma
        sigma = max(2 * low, FIRST_SIGMA) if math.isinf(high) else (low + high) / 2
    raise UnmatchedError(
        what=f"{EVALUATIONS} evaluations end at {found:.4f} nats, wanted {target:.4f} within {TOLERANCE}; sigma is "
        f"between {low:.6g} and {high:.6g}",
        why="a control that is better or worse than the constrained arm explains nothing",
        fix="look at whether the validation loss is the same number twice",
    )


class Noise:
    """Gaussian noise on some matrices of a model: the same draw for every sigma, and for every order of matrices."""

    def __init__(self, model: nn.Module, names: Iterable[str], *, seed: int) -> None:
        """names: modules whose `weight` is disturbed; what they hold now is kept. ConfigError for none."""
        modules = {name: model.get_submodule(name) for name in names}
        if not modules:
            raise ConfigError(
                what="noise on no matrix",
                why="the control would be the baseline itself",
                fix="pass the matrices that the arm to be matched declares",
            )
        self._weights: dict[str, torch.Tensor] = {
            name: module.weight  # type: ignore[misc]
            for name, module in modules.items()
        }
        self._clean = {name: weight.detach().to("cpu", copy=True) for name, weight in self._weights.items()}
        self._seed = seed

    @torch.no_grad()
    def apply(self, sigma: float) -> None:
        """Make every matrix W + sigma * rms(W) * G, from the clean W; 0 restores it bit for bit."""
        for name, weight in self._weights.items():
            clean = self._clean[name]
            if sigma == 0.0:
                weight.copy_(clean)
                continue
            # Drawn on the host and by name: the same noise on every device.
            key = int(digest_json(["degraded", self._seed, name])[:15], 16)
            drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(key))
            rms = clean.double().square().mean().sqrt()
            weight.copy_(clean + drawn.mul_(float(sigma * rms)))

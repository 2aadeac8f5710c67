"""Weights that stay non-negative, or keep their signs, whatever the optimiser does: W = softplus(V), V is trained.

V and softplus are fp32: a step of the usual rate is below half a spacing of bf16 where V lies, and would be rounded
away for ever. No arm is order-preserving by theorem (the activations fall in places), so nothing here is "monotone".
Source: pile-ffn spec sections 1, 3, 3.1, 4 and 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from trackyard.errors import ConfigError, DataError
from trackyard.models.nonneg_names import FORMS, Form
from trackyard.models.nonneg_variants import Declaration, Matrix, expected_matrices, matching

FLOOR = 1e-6
"""Smallest initial magnitude: the inverse has no value at 0."""


def inverse_softplus(magnitude: torch.Tensor) -> torch.Tensor:
    """V with softplus(V) = magnitude, in fp64: a + log(-expm1(-a)), without any constant that would bias it.

    magnitude: above 0, any shape.
    """
    exact = magnitude.double()
    return exact + torch.log(-torch.expm1(-exact))


class NonNegative(nn.Module):
    """softplus(V) as a parametrisation of a weight."""

    def forward(self, free: torch.Tensor) -> torch.Tensor:
        """W from V, fp32 [out, in]; also below autocast, which casts W for the product. ConfigError for another V."""
        if free.dtype != torch.float32:
            raise ConfigError(
                what=f"a constrained weight is held in {free.dtype}",
                why="updates of V are smaller than its spacing there: it would never move",
                fix="set precision to fp32 under engine in params.yaml; the forward pass runs under bf16 autocast",
            )
        return F.softplus(free)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """V of a weight that is assigned; DataError unless the weight is one that the constraint can take."""
        magnitude = self.magnitude(weight)
        if not bool((magnitude > 0).all()):
            raise DataError(
                what=f"a weight with the entry {float(magnitude.min()):.3g} where only values above 0 exist",
                why="no free value gives it, and taking its magnitude would change the model silently",
                fix="give the pretrained weights to `constrain`, which replaces magnitudes below the floor",
            )
        return inverse_softplus(magnitude).float()

    def magnitude(self, weight: torch.Tensor) -> torch.Tensor:
        """What softplus(V) must be for the effective weight to be `weight`."""
        return weight


class SignFrozen(NonNegative):
    """sgn(W0) * softplus(V): the same parametrisation, without non-negativity."""

    sign: torch.Tensor

    def __init__(self, sign: torch.Tensor) -> None:
        """sign: int8 [out, in], -1 or 1."""
        super().__init__()
        # Not part of a state: it is made again from the same start weights, and `negative` of the declaration proves it
        self.register_buffer("sign", sign, persistent=False)

    def forward(self, free: torch.Tensor) -> torch.Tensor:
        return super().forward(free) * self.sign

    def magnitude(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.sign


@dataclass(frozen=True, kw_only=True, slots=True)
class Constrained:
    """What `constrain` did. lowest, highest: of the effective weights. roundtrip: largest relative error of
    softplus(V) against the magnitude it was made from. flipped: share of entries whose sign changed."""

    declaration: Declaration
    lowest: float
    highest: float
    roundtrip: float
    flipped: float

    def to_json(self) -> dict[str, Any]:
        """Keys of the init stage (pile-ffn spec section 10), beside the declaration."""
        return {
            "declaration": self.declaration.to_json(),
            "matched": len(self.declaration.matrices),
            "expected": self.declaration.expected,
            "names": [matrix.name for matrix in self.declaration.matrices],
            "min": self.lowest,
            "max": self.highest,
            "roundtrip_rel_max": self.roundtrip,
            "sign_flip_fraction": self.flipped,
        }


@torch.no_grad()
def constrain(model: Any, variant: str, form: Form) -> Constrained:
    """Start an arm: replace the matrices of a variant, in place, by what the form makes of the pretrained ones.

    The number of parameters stays the same, and nothing is frozen. ConfigError if the matrices are not found, are not
    fp32, or are constrained already.
    """
    if form not in FORMS:
        raise ConfigError(
            what=f"no form {form!r}",
            why="a form says what becomes of the pretrained weights",
            fix=f"choose one of {', '.join(FORMS)}",
        )
    found = matching(model, variant)
    for name, module in found.items():
        _require_fresh(name, module)
    matrices, lowest, highest, roundtrip, flipped = [], [], [], [], 0
    for name, module in found.items():
        negative = module.weight < 0
        magnitude = module.weight.abs().clamp_(min=FLOOR)
        module.weight.copy_(magnitude)
        if form == "nonneg":
            parametrize.register_parametrization(module, "weight", NonNegative())
        elif form == "signfrozen":
            sign = 1 - 2 * negative.to(torch.int8)
            module.weight.mul_(sign)
            parametrize.register_parametrization(module, "weight", SignFrozen(sign))
        count = int(negative.sum())
        flipped += 0 if form == "signfrozen" else count
        prescribed = {"nonneg": 0, "signfrozen": count, "absinit": None}[form]
        matrices.append(Matrix(name=name, shape=_shape(module), negative=prescribed))
        effective = module.weight
        lowest.append(float(effective.min()))
        highest.append(float(effective.max()))
        roundtrip.append(float(((effective.abs() - magnitude) / magnitude).abs().max()))
    declaration = Declaration(
        variant=variant, form=form, expected=expected_matrices(model, variant), matrices=tuple(matrices)
    )
    return Constrained(
        declaration=declaration,
        lowest=min(lowest),
        highest=max(highest),
        roundtrip=max(roundtrip),
        flipped=flipped / declaration.entries,
    )


def constrained_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules by dotted name whose weight is made from a free one by this module."""
    return {
        name: module
        for name, module in model.named_modules()
        if parametrize.is_parametrized(module, "weight")
        and any(isinstance(each, NonNegative) for each in module.parametrizations["weight"])
    }


def _shape(module: nn.Linear) -> tuple[int, int]:
    return module.out_features, module.in_features


def _require_fresh(name: str, module: nn.Linear) -> None:
    if parametrize.is_parametrized(module):
        raise ConfigError(
            what=f"{name} is constrained already",
            why="a second constraint would start from weights that are no longer the pretrained ones",
            fix="load the pretrained model anew for each arm",
        )
    if module.weight.dtype != torch.float32:
        raise ConfigError(
            what=f"{name}.weight is {module.weight.dtype}",
            why="free weights and their optimiser state are fp32; in bf16 they would never move",
            fix="load the pretrained model with dtype=torch.float32",
        )

"""The direct check: does the output of a feed-forward part rise wherever its input does?

F(h) = h + W2 act(W1 h + b1) + b2 of section 1, with h where W1 is applied: after the norm, at real tokens of the
sentences. Section 1's identity is part of F. It makes F of any part with small weights look ordered, so that the share
of the part alone, F(h) - h, is reported beside it. For gated families the part is the whole of W_down (act(W_gate h) *
W_up h). Source: pile-ffn spec sections 1 and 9.

Shapes: L layers; N samples; D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from trackyard.evaluate.attacks.budgets import generator
from trackyard.evaluate.order.hidden import batches, layers_of, passed
from trackyard.evaluate.order.scores import TOLERANCE
from trackyard.evaluate.statistics import Interval, bootstrap_mean

SMALLEST, LARGEST = 0.01, 1.0
"""Size of delta relative to the root mean square of h, log-uniform: from the slope at h to across a dip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DirectCheck:
    """One layer, from 1. share: of the output coordinates that do not fall, over `samples` pairs (h, h + delta) of F;
    without_residual: of F(h) - h."""

    layer: int
    samples: int
    share: float
    ci95: Interval
    without_residual: float


def direct_check(
    model: Any, ids: Sequence[Sequence[int]], *, samples: int, batch: int, seed: int, resamples: int
) -> list[DirectCheck]:
    """Every layer, at `samples` tokens drawn from the sentences, the same ones for all arms of a seed.

    model: as `pooled_states`.
    """
    rng = generator(seed, "probe_order/ffn")
    chosen = rng.integers(len(ids), size=samples)
    places_N = torch.from_numpy(rng.integers([len(ids[row]) for row in chosen]))
    inputs = _inputs(model, [ids[row] for row in chosen], places_N, batch=batch)
    found, device = [], next(model.parameters()).device
    for number, (layer, inputs_ND) in enumerate(zip(layers_of(model), inputs, strict=True), start=1):
        h_ND = inputs_ND.double().to(device)
        delta_ND = _rises(h_ND, generator(seed, "probe_order/ffn/delta", restart=number))
        rise_ND = rise(layer.mlp, h_ND, delta_ND)
        shares_N = share_in_order(rise_ND + delta_ND)
        interval = generator(seed, "probe_order/ffn/interval", restart=number)
        found.append(
            DirectCheck(
                layer=number,
                samples=samples,
                share=float(shares_N.mean()),
                ci95=bootstrap_mean(shares_N.cpu().numpy(), rng=interval, resamples=resamples),
                without_residual=float(share_in_order(rise_ND).mean()),
            )
        )
    return found


def rise(part: torch.nn.Module, h_ND: torch.Tensor, delta_ND: torch.Tensor) -> torch.Tensor:
    """part(h + delta) - part(h) [N, D], in fp64: the difference of fp32 outputs would fall by their rounding.

    The part itself is left as it is.
    """
    weights = {name: value.double() for name, value in part.state_dict().items()}
    with torch.inference_mode():
        above_ND, below_ND = (functional_call(part, weights, (inputs_ND,)) for inputs_ND in (h_ND + delta_ND, h_ND))
        return above_ND - below_ND  # type: ignore[no-any-return]


def share_in_order(rise_ND: torch.Tensor) -> torch.Tensor:
    """Share of the coordinates of each sample [N] that are at least -TOLERANCE."""
    return (rise_ND >= -TOLERANCE).double().mean(dim=1)


def _inputs(model: Any, ids: Sequence[Sequence[int]], places_N: torch.Tensor, *, batch: int) -> list[torch.Tensor]:
    """What the feed-forward part of each layer is given at one place of each row: [N, D] on the CPU."""
    parts = [layer.mlp for layer in layers_of(model)]
    found = [torch.empty(len(ids), model.config.hidden_size) for _ in parts]
    for part in batches(ids, batch):
        for inputs_ND, inputs_BTD in zip(found, passed(model, part, parts, "input"), strict=True):
            inputs_ND[part.rows_B] = inputs_BTD.cpu()[torch.arange(len(part.rows_B)), places_N[part.rows_B]]
    return found


def _rises(h_ND: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """delta >= 0 [N, D], of sizes from SMALLEST to LARGEST times that of h."""
    sizes_N = np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST), len(h_ND)))
    drawn_ND = np.abs(rng.normal(size=h_ND.shape)) * sizes_N[:, None]
    return torch.from_numpy(drawn_ND).to(h_ND.device) * h_ND.square().mean(dim=1, keepdim=True).sqrt()

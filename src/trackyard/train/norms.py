"""The norm of the gradient, whole and per component, under every ZeRO stage and without waiting for the device.

DeepSpeed computes a norm too, but with one collective per group, with a copy from the host that waits for the device,
and with infinity for everything that is no number. Source: DeepSpeed 0.19.8 (stage_1_and_2, stage3); performance spec
sections 6 and 10.3 (G4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientNorms:
    """L2 norms of the gradient that an update is about to be made from, before clipping; the same on every rank."""

    names: tuple[str, ...]
    """Components, each once, in the order of the optimiser's groups."""
    by_component: torch.Tensor
    """float64 [len(names)], on the device."""

    @property
    def whole(self) -> torch.Tensor:
        """Norm over all components: float64 [], on the device."""
        return self.by_component.square().sum().sqrt()

    def read(self) -> dict[str, float]:
        """Norm by component; waits for the device."""
        return dict(zip(self.names, self.by_component.tolist(), strict=True))


def gradient_norms(deepspeed_engine: Any, components: Sequence[str]) -> GradientNorms:
    """Norms of the averaged gradients; every rank calls this after the last `backward` of a step and before `step`.

    It is right as well inside the optimiser's first call of an update, where the engine's judge asks for it. ZeRO 0 has
    whole gradients on every rank; otherwise each rank adds up its own range, and one collective adds up the ranges.
    components: name of each of the optimiser's groups, in their order (DeepSpeed hides groups while it updates one).
    """
    stage = int(deepspeed_engine.zero_optimization_stage())
    names, device = tuple(dict.fromkeys(components)), deepspeed_engine.device
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for number, gradients in _gradients(deepspeed_engine.optimizer, stage):
        parts[components[number]] += gradients
    squares = torch.stack([_squares(parts[name], device) for name in names])
    if stage > 0 and dist.get_world_size() > 1:
        dist.all_reduce(squares)
    return GradientNorms(names=names, by_component=squares.sqrt())


def _gradients(wrapper: Any, stage: int) -> list[tuple[int, Sequence[torch.Tensor]]]:
    """(Group, gradients of this rank's part of it)."""
    if stage == 0:
        return [
            (number, [weight.grad for weight in group["params"] if weight.grad is not None])
            for number, group in enumerate(wrapper.param_groups)
        ]
    if hasattr(wrapper, "fp32_groups_gradient_flat_partition"):  # DeepSpeed's own way for ZeRO 1 in bf16
        return [(number, [gradient]) for number, gradient in enumerate(wrapper.fp32_groups_gradient_flat_partition)]
    averaged: Mapping[int, Sequence[torch.Tensor] | None] = wrapper.averaged_gradients
    if stage < 3:
        flat, group_of = wrapper.single_partition_of_fp32_groups, range(len(wrapper.single_partition_of_fp32_groups))
    else:
        flat, group_of = wrapper.fp32_partitioned_groups_flat, wrapper.sub_group_to_group_id
    found: list[tuple[int, Sequence[torch.Tensor]]] = []
    for number, masters in enumerate(flat):
        # With offload, and for a group whose update has begun, the gradient lies beside the masters.
        there = averaged.get(number)
        found.append((group_of[number], [masters.grad] if there is None else there))
    return found


def _squares(gradients: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Sum of squares, float64 [] on `device`. A bf16 gradient is summed in fp32."""
    if not gradients:
        return torch.zeros((), dtype=torch.float64, device=device)
    norms = torch.stack(torch._foreach_norm(list(gradients), 2, dtype=torch.float32))
    return norms.to(device).double().square().sum()

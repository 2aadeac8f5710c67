"""Optimiser groups: each component has its own rate and warm-up. Source: molmo2 spec section 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from trackyard.errors import ConfigError
from trackyard.train.parameters import ComponentRate, Schedule
from trackyard.train.schedule import learning_rate


class StepOptimizer(torch.optim.AdamW):
    """AdamW in one kernel that clips and skips on the device, whoever calls it.

    DeepSpeed calls `step` once per update, per group or per part of a group, depending on the ZeRO stage, when the
    global norm of the gradient is known. `before_update` then gives what gradients are divided by, and 1.0 where
    weights, moments and step count shall stay as they are.
    """

    before_update: Callable[[], tuple[torch.Tensor, torch.Tensor]]

    def __init__(self, groups: Any, **settings: Any) -> None:
        super().__init__(groups, lr=0.0, fused=True, **settings)

    def step(self, closure: Any = None) -> Any:
        """One update of the parameters in `param_groups`, as the fused kernel's own attributes ask for."""
        # With its state in host memory the kernel wants these two there as well.
        place = next(weight.device for group in self.param_groups for weight in group["params"])
        self.grad_scale, self.found_inf = (number.to(place) for number in self.before_update())
        return super().step(closure)


def parameter_groups(
    model: torch.nn.Module, component_of: Callable[[str], str], rates: Mapping[str, ComponentRate]
) -> list[dict[str, Any]]:
    """AdamW groups named by component, in the order of `rates`; a component with rate 0 is frozen.

    Raises ConfigError if a parameter's component has no rate or a rate names no component.
    """
    groups: dict[str, list[torch.nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in model.named_parameters():
        component = component_of(name)
        if component not in groups:
            raise ConfigError(
                what=f"no learning rate for component {component!r} (rates: {sorted(groups)})",
                why=f"{name} would not be trained",
                fix="name every component under optimiser.rates in params.yaml; 0 freezes one",
            )
        groups[component].append(parameter)
    empty = [name for name, parameters in groups.items() if not parameters]
    if empty:
        raise ConfigError(
            what=f"optimiser.rates names {empty}, which the model does not have",
            why="the rate would have no effect",
            fix="remove it from params.yaml",
        )
    for name, rate in rates.items():
        for parameter in groups[name]:
            parameter.requires_grad_(rate.learning_rate > 0)
    return [
        {"params": parameters, "name": name, "lr": 0.0}
        for name, parameters in groups.items()
        if rates[name].learning_rate > 0
    ]


def rates_at(
    step: int, rates: Mapping[str, ComponentRate], *, total: int, schedule: Schedule = "cosine"
) -> dict[str, float]:
    """Learning rate of each trained component for update `step` of `total`."""
    return {
        name: learning_rate(step, base=rate.learning_rate, warmup=rate.warmup_steps, total=total, schedule=schedule)
        for name, rate in rates.items()
        if rate.learning_rate > 0
    }

"""Optimiser groups: each component has its own rate and warm-up. Source: molmo2 spec section 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import Field

from trackyard.errors import ConfigError
from trackyard.parameters import Parameters
from trackyard.train.schedule import learning_rate


class ComponentRate(Parameters):
    """Base learning rate of a component and its warm-up in steps; a frozen component has rate 0."""

    learning_rate: float = Field(ge=0.0, le=1.0)
    warmup_steps: int = Field(ge=0)


class OptimiserParameters(Parameters):
    """AdamW with a rate per component."""

    rates: dict[str, ComponentRate]
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    beta2: float = Field(default=0.95, ge=0.0, lt=1.0)
    eps: float = Field(default=1e-6, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    clip_norm: float = Field(default=1.0, gt=0.0)


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


def rates_at(step: int, rates: Mapping[str, ComponentRate], *, total: int) -> dict[str, float]:
    """Learning rate of each trained component for update `step` of `total`."""
    return {
        name: learning_rate(step, base=rate.learning_rate, warmup=rate.warmup_steps, total=total)
        for name, rate in rates.items()
        if rate.learning_rate > 0
    }

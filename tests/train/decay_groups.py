"""AdamW's groups as the engine makes them of components and their settings, without an engine."""

from typing import Any

from trackyard.train.decay import components, group_settings
from trackyard.train.optimiser import parameter_groups
from trackyard.train.parameters import OptimiserParameters


def decay_groups(model: Any, optimiser: OptimiserParameters) -> list[dict[str, Any]]:
    """`optimiser.rates` names the components that the model has."""
    settings = group_settings(optimiser)
    groups = parameter_groups(model, components(model).__getitem__, optimiser.rates)
    return [group | dict(settings[group["name"]]) for group in groups]

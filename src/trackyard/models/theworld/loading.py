"""Trained tensors into a module, all of them or none. Source: theworld spec section 11.

A published loader was not strict: renamed keys left a branch random, and nothing was said.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trackyard.errors import CheckpointError

NAMED = 8
"""Problems that an error names."""


def trained_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What an export holds: every parameter that is trained, detached, by its name."""
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}


@torch.no_grad()
def load_exact(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy `tensors` into the trained parameters of `module`.

    CheckpointError, with the module as it was, for a name too few or too many, another shape, or a value that is not
    finite.
    """
    wanted = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - tensors.keys())]
    problems += [f"{name} has no place" for name in sorted(tensors.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & tensors.keys()):
        if wanted[name].shape != tensors[name].shape:
            problems.append(f"{name}: {tuple(tensors[name].shape)} into {tuple(wanted[name].shape)}")
        elif not torch.isfinite(tensors[name]).all():
            problems.append(f"{name} is not finite")
    if problems:
        more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise CheckpointError(
            what="; ".join(problems[:NAMED]) + more,
            why="what has no source would stay as it was drawn, and be evaluated as if it were trained",
            fix="load the export of a run with the same world parameters (its world_config.json says which)",
        )
    for name, weight in wanted.items():
        weight.copy_(tensors[name])

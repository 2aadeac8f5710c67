"""A stage transition: a run that starts from what another one has trained, usually with more of Gemma thawed.

An operation of its own and no resume: the optimiser starts anew. Source: theworld spec section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from trackyard.errors import CheckpointError, ConfigError
from trackyard.models.theworld.loading import load_exact
from trackyard.models.theworld.model import TheWorld
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.export import read_export, require_same_base


def take_over(study: Study, cell: Cell, model: TheWorld, say: Callable[[str], None]) -> None:
    """Give a model the trained tensors of `training.init_from`, and say what is trained more or less than there.

    ConfigError where input and output are the same folder; CheckpointError for tensors that have no place here.
    """
    source = study.root / str(study.parameters.training.init_from)
    if source.resolve() == study.export(cell).resolve():
        raise ConfigError(
            what=f"training.init_from={study.parameters.training.init_from} is where {cell.label} puts its export",
            why="the run would overwrite what it starts from",
            fix="copy the export to another folder, and name that",
        )
    export = read_export(source, again="correct datacomp.training.init_from in params.yaml")
    require_same_base(study, export, cell.name)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    for line in difference(export.tensors, trained):
        say(f"start     {line}")
    stray = sorted(export.tensors.keys() - trained.keys())
    if stray:
        raise CheckpointError(
            what=f"{source} holds {len(stray)} tensors that are not trained here, {stray[0]} first",
            why="they would be left behind without a word",
            fix="thaw what was thawed there (datacomp.training.thawed_rates), or start from another export",
        )
    # Parts that were frozen until now start as the base model has them.
    load_exact(model, {name: weight.detach().cpu() for name, weight in trained.items()} | dict(export.tensors))


def difference(before: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor]) -> list[str]:
    """What is trained now and was not, and the reverse, by name and count; then the totals."""
    lines = [f"+ {name} {now[name].numel():,}" for name in sorted(now.keys() - before.keys())]
    lines += [f"- {name} {before[name].numel():,}" for name in sorted(before.keys() - now.keys())]
    totals = [sum(tensor.numel() for tensor in tensors.values()) for tensors in (before, now)]
    return [*lines, f"{totals[1]:,} trained parameters, {totals[0]:,} in the export"]

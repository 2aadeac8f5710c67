"""The stages of the track by name, as dvc.yaml calls them. What a stage needs is imported when it runs.

Source: theworld spec section 14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from trackyard.errors import ConfigError
from trackyard.imports import import_heavy
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.results import PIPELINE
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.recipes.parts import part_named

Say = Callable[[str], None]
About = Literal["study", "part", "cell", "arm"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Where a stage is, and what it is about: the study; a part K/N of its work, or all; a trained cell; an arm.

    trains: it runs on several ranks, and reads the parameter file again.
    """

    module: str
    function: str
    about: About = "study"
    trains: bool = False


STAGES: Mapping[str, Stage] = {
    "estimate": Stage(module="cost.estimating", function="estimate"),
    "metadata": Stage(module="ingest.metadata", function="metadata"),
    "select": Stage(module="ingest.selecting", function="select"),
    "download": Stage(module="ingest.downloading", function="download", about="part"),
    "models": Stage(module="base.models", function="models"),
    "eval_data": Stage(module="evaluating.eval_data", function="eval_data"),
    "curate": Stage(module="ingest.curating", function="curate"),
    "latents": Stage(module="latents.encoding", function="latents", about="part"),
    "eval_latents": Stage(module="latents.encoding", function="eval_latents", about="part"),
    "train": Stage(module="training.training", function="train", about="cell", trains=True),
    "evaluate": Stage(module="evaluating.evaluating", function="evaluate", about="arm"),
    "compare": Stage(module="report.comparing", function="compare"),
}


def require(parameters: DatacompParameters, name: str, item: str | None) -> Stage:
    """The stage of that name. ConfigError for what is none, and for an item that it is not about."""
    stage = STAGES.get(name)
    if stage is None:
        raise ConfigError(
            what=f"no stage {name!r} of track {TRACK}",
            why=f"it has {', '.join(STAGES)}",
            fix=f"dvc repro {PIPELINE}",
        )
    _about(parameters, name, stage.about, item)
    return stage


def run_stage(study: Study, name: str, item: str | None, *, parameter_file: Path, say: Say) -> None:
    """Run a stage to its end. item: the part, cell or arm that it is about. ConfigError for what is none."""
    stage = require(study.parameters, name, item)
    about = _about(study.parameters, name, stage.about, item)
    module = f"trackyard.recipes.datacomp.{stage.module}"
    import_heavy(module)
    function = getattr(import_module(module), stage.function)
    if stage.about == "arm":
        from trackyard.recipes.running.side_by_side import places, side_by_side

        import_module(module).import_ahead()
        work = partial(_one, function, study, say)
        side_by_side(work, about, places(study.parameters.engine.threads))
    elif stage.about == "study":
        function(study, say)
    else:
        function(study, about[0], say, *((parameter_file,) if stage.trains else ()))


def _one(function: Callable[..., None], study: Study, say: Say, cell: Cell) -> None:
    function(study, cell, say)


def _about(parameters: DatacompParameters, stage: str, about: About, item: str | None) -> tuple[Any, ...]:
    """What the stage is called with."""
    choices: dict[str, tuple[Cell, ...]] = {}
    if about == "part":
        part_named(item, again=f"trackyard run {TRACK} {stage}")
        return (item,)
    if about == "cell":
        choices = {label: (cell,) for label, cell in parameters.trained_cells.items()}
    elif about == "arm":
        choices = {arm: parameters.cells_of(arm) for arm in parameters.arms}
    if (item is None) is not (not choices) or (item is not None and item not in choices):
        given = "none is given" if item is None else f"{item!r} is not one of them"
        raise ConfigError(
            what=f"{stage} is about {', '.join(choices) or 'the whole study'}; {given}",
            why="runs, arms and seeds are those of datacomp in params.yaml",
            fix=f"trackyard run {TRACK} {stage} {next(iter(choices), '')}".strip(),
        )
    return choices[item] if item is not None else ()

"""The stages of the track by name, as dvc.yaml calls them. What a stage needs is imported when it runs.

Source: pile-ffn spec section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from trackyard.errors import ConfigError
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.study import TRACK, Study

Say = Callable[[str], None]
About = Literal["study", "trained", "degraded", "measured", "seed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Where a stage is, and what it is about. trains: it runs on several ranks, and reads the parameter file again."""

    module: str
    function: str
    about: About = "study"
    trains: bool = False


STAGES: Mapping[str, Stage] = {
    "estimate": Stage(module="cost.estimating", function="estimate"),
    "fetch": Stage(module="text.fetching", function="fetch"),
    "tokenize": Stage(module="text.tokenizing", function="tokenize"),
    "untouched": Stage(module="arms.start", function="untouched", trains=True),
    "init": Stage(module="arms.declaring", function="init"),
    "train": Stage(module="arms.training", function="train", about="trained", trains=True),
    "degrade": Stage(module="arms.degrading", function="degrade", about="degraded"),
    "evaluate": Stage(module="measures.evaluating", function="evaluate", about="measured"),
    "attack": Stage(module="measures.attacking", function="attack", about="measured"),
    "transfer": Stage(module="measures.transferring", function="transfer", about="seed"),
    "aggregate": Stage(module="report.aggregating", function="aggregate"),
}


def run_stage(study: Study, name: str, item: str | None, *, parameter_file: Path, say: Say) -> None:
    """Run a stage to its end. item: the cell or seed that it is about, as in dvc.yaml. ConfigError for what is none."""
    stage = STAGES.get(name)
    if stage is None:
        raise ConfigError(
            what=f"no stage {name!r} of track {TRACK}",
            why=f"it has {', '.join(STAGES)}",
            fix="dvc repro pipelines/pile_ffn/dvc.yaml",
        )
    arguments: list[Any] = [study, *_about(study.parameters, name, stage.about, item)]
    function = getattr(import_module(f"trackyard.recipes.pile_ffn.{stage.module}"), stage.function)
    if stage.trains:
        function(*arguments, say, parameter_file)
    else:
        function(*arguments, say)


def _about(parameters: PileFfnParameters, stage: str, about: About, item: str | None) -> list[Any]:
    """The cell or seed of that name, if the stage has one."""
    choices: dict[str, Any] = {}
    if about == "seed":
        choices = {str(seed): seed for seed in parameters.seeds}
    elif about != "study":
        cells: tuple[Cell, ...] = {
            "trained": parameters.trained_cells,
            "degraded": parameters.degraded_cells,
            "measured": tuple(parameters.cells.values()),
        }[about]
        choices = {cell.name: cell for cell in cells}
    if (item is None) is not (not choices) or (item is not None and item not in choices):
        given = "none is given" if item is None else f"{item!r} is not one of them"
        raise ConfigError(
            what=f"{stage} is about {', '.join(choices) or 'the whole study'}; {given}",
            why="cells and seeds are those of pile_ffn in params.yaml",
            fix=f"trackyard run {TRACK} {stage} {next(iter(choices), '')}".strip(),
        )
    return [] if item is None else [choices[item]]

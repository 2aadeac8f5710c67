"""The stages of the track by name, as dvc.yaml calls them. What a stage needs is imported when it runs.

Source: pile-ffn spec section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from trackyard.errors import ConfigError
from trackyard.imports import import_heavy
from trackyard.recipes.parts import part_named
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.study import TRACK, Study

Say = Callable[[str], None]
About = Literal["study", "part", "cell", "variant", "arm", "seeds"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Where a stage is, and what it is about: cells of an arm or variant, and seeds, are done side by side.

    Or a part K/N of its work, or all of that.

    trains: it runs on several ranks, and reads the parameter file again. imports: module of this track whose
    `import_ahead` imports what all processes of the stage need, before they are forked.
    """

    module: str
    function: str
    about: About = "study"
    trains: bool = False
    imports: str = "measures.exports"


STAGES: Mapping[str, Stage] = {
    "estimate": Stage(module="cost.estimating", function="estimate"),
    "fetch": Stage(module="text.fetching", function="fetch"),
    "tokenize": Stage(module="text.tokenizing", function="tokenize", about="part"),
    "untouched": Stage(module="arms.start", function="untouched", trains=True),
    "init": Stage(module="arms.declaring", function="init"),
    "train": Stage(module="arms.training", function="train", about="cell", trains=True),
    "degrade": Stage(module="arms.degrading", function="degrade", about="variant"),
    "evaluate": Stage(module="measures.evaluating", function="evaluate", about="arm", imports="measures.evaluating"),
    "attack": Stage(module="measures.attacking", function="attack", about="arm"),
    "transfer": Stage(module="measures.transferring", function="transfer", about="seeds"),
    "aggregate": Stage(module="report.aggregating", function="aggregate"),
}


def require(parameters: PileFfnParameters, name: str, item: str | None) -> Stage:
    """The stage of that name. ConfigError for what is none, and for an item that it is not about."""
    stage = STAGES.get(name)
    if stage is None:
        raise ConfigError(
            what=f"no stage {name!r} of track {TRACK}",
            why=f"it has {', '.join(STAGES)}",
            fix="dvc repro pipelines/pile_ffn/dvc.yaml",
        )
    _about(parameters, name, stage.about, item)
    return stage


def run_stage(study: Study, name: str, item: str | None, *, parameter_file: Path, say: Say) -> None:
    """Run a stage to its end. item: the cell or seed that it is about, as in dvc.yaml. ConfigError for what is none."""
    stage = require(study.parameters, name, item)
    about = _about(study.parameters, name, stage.about, item)
    module = f"trackyard.recipes.pile_ffn.{stage.module}"
    import_heavy(module)
    function = getattr(import_module(module), stage.function)
    if stage.about == "study":
        arguments: tuple[Any, ...] = (study, say)
    elif stage.about in ("cell", "part"):
        arguments = (study, about[0], say)
    else:
        from trackyard.recipes.running.side_by_side import places, side_by_side

        import_module(f"trackyard.recipes.pile_ffn.{stage.imports}").import_ahead(study)
        work = partial(_one, function, study, say)
        side_by_side(work, about, places(study.parameters.engine.threads))
        return
    function(*arguments, *((parameter_file,) if stage.trains else ()))


def _one(function: Callable[..., None], study: Study, say: Say, item: Cell | int) -> None:
    function(study, item, say)


def _about(parameters: PileFfnParameters, stage: str, about: About, item: str | None) -> Sequence[Any]:
    """The cells or seeds that the stage is about, or its part."""
    if about == "part":
        part_named(item, again=f"trackyard run {TRACK} {stage}")
        return (item,)
    if about == "seeds" and item is None:
        return parameters.seeds
    choices: dict[str, Sequence[Cell]] = {}
    if about == "cell":
        choices = {cell.name: (cell,) for cell in parameters.trained_cells}
    elif about == "variant":
        choices = {variant: parameters.cells_of(f"degraded_{variant}") for variant in parameters.degraded}
    elif about == "arm":
        choices = {arm: parameters.cells_of(arm) for arm in parameters.measured}
    if (item is None) is not (not choices) or (item is not None and item not in choices):
        given = "none is given" if item is None else f"{item!r} is not one of them"
        raise ConfigError(
            what=f"{stage} is about {', '.join(choices) or 'the whole study'}; {given}",
            why="arms, variants and seeds are those of pile_ffn in params.yaml",
            fix=f"trackyard run {TRACK} {stage} {next(iter(choices), '')}".strip(),
        )
    return choices[item] if item is not None else ()

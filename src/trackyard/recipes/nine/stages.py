"""The stages of the track by name, as dvc.yaml calls them. What a stage needs is imported when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from trackyard.errors import ConfigError
from trackyard.imports import import_heavy
from trackyard.recipes.nine.results import PIPELINE
from trackyard.recipes.nine.study import TRACK, Study
from trackyard.recipes.parts import part_named

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Where a stage is. divided: several machines may each do a part K/N of it."""

    module: str
    function: str
    divided: bool = False


STAGES: Mapping[str, Stage] = {
    "declare": Stage(module="declared", function="declare"),
    "data": Stage(module="data", function="data"),
    "model": Stage(module="model", function="model"),
    "importance": Stage(module="sweeping.importance", function="importance"),
    "sweep": Stage(module="sweeping.planning", function="sweep"),
    "accuracy": Stage(module="sweeping.accuracy", function="accuracy", divided=True),
    "latency": Stage(module="sweeping.latency", function="latency", divided=True),
    "compare": Stage(module="report.comparing", function="compare"),
}


def require(name: str, item: str | None) -> Stage:
    """The stage of that name. ConfigError for what is none, and for an item that is no part K/N of it."""
    stage = STAGES.get(name)
    if stage is None:
        raise ConfigError(
            what=f"no stage {name!r} of track {TRACK}", why=f"it has {', '.join(STAGES)}", fix=f"dvc repro {PIPELINE}"
        )
    if item is not None and not stage.divided:
        raise ConfigError(
            what=f"{name} {item}: the stage {name} is about the whole study",
            why="accuracy and latency alone are divided into parts",
            fix=f"trackyard run {TRACK} {name}",
        )
    part_named(item, again=f"trackyard run {TRACK} {name}")
    return stage


def run_stage(study: Study, name: str, item: str | None, *, say: Say) -> None:
    """Run a stage to its end. item: a part K/N of its work. ConfigError for what is none."""
    stage = require(name, item)
    module = f"trackyard.recipes.nine.{stage.module}"
    import_heavy(module)
    function = getattr(import_module(module), stage.function)
    if stage.divided:
        function(study, item, say)
    else:
        function(study, say)

"""Stages by name: each is where it is said to be, and a part is taken by those that have any."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.recipes.nine.tiny_nine import ROOT, Told, silent, study_at, write_definitions
from trackyard.errors import ConfigError
from trackyard.recipes.nine.results import PIPELINE
from trackyard.recipes.nine.stages import STAGES, run_stage
from trackyard.recipes.nine.study import ARTIFACTS


def pipeline() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / PIPELINE).read_text())["stages"]
    return found


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_a_function_that_takes_what_it_is_given(name: str) -> None:
    stage = STAGES[name]
    function = getattr(import_module(f"trackyard.recipes.nine.{stage.module}"), stage.function)
    taken = list(inspect.signature(function).parameters)
    assert taken == (["study", "item", "say"] if stage.divided else ["study", "say"])


def test_the_pipeline_runs_every_stage_in_this_order() -> None:
    assert list(pipeline()) == list(STAGES)
    for name, stage in pipeline().items():
        assert stage["cmd"] == f"trackyard run nine {name}"


def test_every_stage_depends_on_what_decides_it_and_on_stages_before_it() -> None:
    made: list[str] = []
    for name, stage in pipeline().items():
        if name != "declare":
            assert f"{ARTIFACTS}/parameters/{name}.json" in stage["deps"], name
        for dependency in stage["deps"]:
            if dependency.startswith(f"{ARTIFACTS}/"):
                assert any(dependency == one or dependency.startswith(f"{one}/") for one in made), (name, dependency)
        made += stage["outs"]
    assert len(set(made)) == len(made) == len(STAGES)


def test_what_is_no_stage_or_has_no_parts_is_refused(tmp_path: Path) -> None:
    write_definitions(tmp_path)
    study = study_at(tmp_path)
    with pytest.raises(ConfigError, match="no stage 'train'") as refused:
        run_stage(study, "train", None, say=silent)
    assert refused.value.fix == f"dvc repro {PIPELINE}"
    for name, stage in STAGES.items():
        if not stage.divided:
            with pytest.raises(ConfigError, match=f"the stage {name} is about the whole study"):
                run_stage(study, name, "0/2", say=silent)


def test_a_stage_runs_by_its_name(tmp_path: Path) -> None:
    write_definitions(tmp_path)
    told = Told()
    run_stage(study_at(tmp_path), "declare", None, say=told)
    assert told
    assert (tmp_path / ARTIFACTS / "parameters" / "sweep.json").is_file()

"""What does not divide over the ranks is refused from parameters alone, before a model is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trackyard.errors import ConfigError
from trackyard.recipes.molmo2.division import check_division
from trackyard.recipes.molmo2.parameters import Molmo2Parameters, load_molmo2

PROFILES = Path(__file__).parents[3] / "profiles"


def mini(**engine: Any) -> Molmo2Parameters:
    parameters = load_molmo2(PROFILES / "mini.yaml")
    return parameters.model_copy(update={"engine": parameters.engine.model_copy(update={"micro_batch": 1} | engine)})


@pytest.mark.parametrize(("degree", "world"), [(1, 1), (2, 2), (2, 4), (4, 4)])
def test_what_divides(degree: int, world: int) -> None:
    check_division(mini(context_degree=degree), "stage2", world)


@pytest.mark.parametrize(
    ("engine", "world", "problem"),
    [
        ({"context_degree": 3}, 3, "attention heads do not divide over 3 ranks"),
        ({"context_degree": 2}, 3, "1 data-parallel ranks of 2 are not 3 processes"),
        ({"context_degree": 2}, 1, "0 data-parallel ranks are no group"),
        ({"micro_batch": 3}, 1, "packs_per_step=8 is not a multiple of micro_batch=3 x ranks=1"),
        ({}, 3, "packs_per_step=8 is not a multiple of micro_batch=1 x ranks=3"),
    ],
)
def test_what_does_not_divide_is_named(engine: dict[str, Any], world: int, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        check_division(mini(**engine), "stage2", world)
    assert refused.value.fix


@pytest.mark.parametrize("profile", ["a100-40", "a100-80", "h100", "h200", "laptop", "mini"])
@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_every_profile_divides(profile: str, stage: str) -> None:
    parameters = load_molmo2(PROFILES / f"{profile}.yaml")
    check_division(parameters, stage, parameters.processes)  # type: ignore[arg-type]

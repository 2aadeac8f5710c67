"""Names and paths of runs and arms."""

import pytest

from tests.recipes.datacomp.mini_parameters import mini_parameters
from trackyard.errors import ConfigError
from trackyard.recipes.datacomp.cells import ARMS, BASE, CONTROLS, NO_WORLD, WORLD, Cell, arm_named


def test_every_arm_of_the_specification_is_there() -> None:
    """Section 12.4 of the spec."""
    assert set(ARMS) == {BASE, WORLD, *CONTROLS}
    assert {name for name, arm in ARMS.items() if arm.run == "world"} == {
        WORLD,
        "zero_latents",
        "shuffled_latents",
        NO_WORLD,
    }
    assert not ARMS[BASE].seeded
    assert all(arm.seeded for name, arm in ARMS.items() if name != BASE)


def test_labels_and_paths() -> None:
    assert (Cell(name=WORLD, seed=42).label, Cell(name=WORLD, seed=42).path) == ("world-42", "world/42")
    assert (Cell(name=BASE, seed=None).label, Cell(name=BASE, seed=None).path) == (BASE, BASE)
    parameters = mini_parameters()
    assert len(parameters.evaluated) == 1 + 6 * len(parameters.seeds)
    assert list(parameters.trained_cells) == ["world-42", "world-1337", "soft_prompt-42", "soft_prompt-1337"]


def test_other_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="no arm 'gemma'"):
        arm_named("gemma")

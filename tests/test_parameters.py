"""Parameters are immutable, refuse what they do not know, and say what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from trackyard.errors import ConfigError
from trackyard.parameters import Parameters, parse_parameters, read_layered, read_yaml


class Optimiser(Parameters):
    learning_rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.95)


class Stage(Parameters):
    steps: int = Field(ge=1)
    name: str = "stage"
    optimiser: Optimiser


GOOD: dict[str, Any] = {"steps": 3, "optimiser": {"learning_rate": 0.1}}


def test_good_values_give_the_group_with_its_defaults() -> None:
    stage = parse_parameters(Stage, GOOD, where="params.yaml")
    assert stage == Stage(steps=3, name="stage", optimiser=Optimiser(learning_rate=0.1, betas=(0.9, 0.95)))


@given(st.integers(1, 10**9), st.floats(1e-9, 1e3), st.text(max_size=20))
def test_a_group_survives_being_written_and_read(steps: int, rate: float, name: str) -> None:
    stage = Stage(steps=steps, name=name, optimiser=Optimiser(learning_rate=rate))
    assert parse_parameters(Stage, stage.model_dump(mode="json"), where="w") == stage


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (GOOD | {"step": 3}, "unknown parameter 'step'; did you mean 'steps'?"),
        (
            GOOD | {"optimiser": {"learning_rate": 1, "learning_rat": 2}},
            "unknown parameter 'optimiser.learning_rat'; did you mean 'learning_rate'?",
        ),
        (GOOD | {"zzz": 3}, "unknown parameter 'zzz'"),
        (GOOD | {"name": {"zzz": 3}}, "name={'zzz': 3}: Input should be a valid string"),
        ({"optimiser": {"learning_rate": 1}}, "parameter 'steps' is missing"),
        (GOOD | {"optimiser": {}}, "parameter 'optimiser.learning_rate' is missing"),
        (GOOD | {"steps": 0}, "steps=0: Input should be greater than or equal to 1"),
        (GOOD | {"steps": 2.5}, "steps=2.5: Input should be a valid integer"),
        (
            GOOD | {"optimiser": {"learning_rate": float("inf")}},
            "optimiser.learning_rate=inf: Input should be a finite",
        ),
        (GOOD | {"optimiser": {"learning_rate": 1, "betas": [0.9, "x"]}}, "optimiser.betas.1='x'"),
        (None, "Input should be a valid dictionary"),
        ([1], "Input should be a valid dictionary"),
    ],
)
def test_each_fault_is_named_with_its_value(values: Any, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_parameters(Stage, values, where="params.yaml: molmo2.stage2")
    assert raised.value.what.startswith("params.yaml: molmo2.stage2: ")
    assert told in raised.value.what
    assert "edit params.yaml: molmo2.stage2" in raised.value.fix


def test_no_match_is_no_hint() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_parameters(Stage, GOOD | {"zzz": 3}, where="w")
    assert "did you mean" not in str(raised.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_parameters(Stage, {"steps": 0, "nam": "x"}, where="w")
    assert raised.value.what.count(" · ") == 2


def test_a_group_cannot_be_changed() -> None:
    stage = parse_parameters(Stage, GOOD, where="w")
    with pytest.raises(ValidationError, match="frozen"):
        stage.steps = 4  # type: ignore[misc]


def test_yaml_gives_a_mapping_and_its_exponents_become_numbers(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-4, without a point, as a text; a typed group makes it the number that was meant."""
    path = tmp_path / "params.yaml"
    path.write_text("steps: 3\noptimiser:\n  learning_rate: 1e-4\n")
    values = read_yaml(path)
    assert values["optimiser"]["learning_rate"] == "1e-4"
    assert parse_parameters(Stage, values, where="w").optimiser.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "does not exist"),
        ("a: [1", "is not valid YAML"),
        ("a: !!python/object:os.system {}", "is not valid YAML"),
        ("", "holds a NoneType, not a mapping"),
        ("- 1\n", "holds a list, not a mapping"),
    ],
)
def test_what_is_no_mapping_is_refused_with_the_command_that_restores_it(
    tmp_path: Path, text: str | None, told: str
) -> None:
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_yaml(path)
    assert raised.value.what.startswith(f"{path} {told}")
    assert "`git checkout -- params.yaml`" in raised.value.fix


def layered(folder: Path, above: str, below: str = "a: {b: 1, c: [1, 2]}\nd: 2\n") -> Path:
    (folder / "base.yaml").write_text(below)
    path = folder / "profile.yaml"
    path.write_text(above)
    return path


def test_a_layer_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = layered(tmp_path, "extends: base\na: {b: 3, e: {f: 4}}\n")
    assert read_layered(path) == {"a": {"b": 3, "c": [1, 2], "e": {"f": 4}}, "d": 2}


def test_lists_and_values_are_replaced_whole(tmp_path: Path) -> None:
    assert read_layered(layered(tmp_path, "extends: base\na: {c: [3]}\nd: {x: 1}\n")) == {
        "a": {"b": 1, "c": [3]},
        "d": {"x": 1},
    }


def test_a_file_without_a_base_is_read_as_it_is(tmp_path: Path) -> None:
    assert read_layered(layered(tmp_path, "a: 1\n")) == {"a": 1}


def test_another_base_takes_the_place_of_the_named_one(tmp_path: Path) -> None:
    path = layered(tmp_path, "extends: base\nd: 5\n")
    (tmp_path / "other.yaml").write_text("z: 9\n")
    assert read_layered(path, base="other") == {"z": 9, "d": 5}


@pytest.mark.parametrize(
    ("above", "below", "base", "told"),
    [
        ("extends: ../base\n", "a: 1\n", None, "extends is '../base'"),
        ("extends: [base]\n", "a: 1\n", None, "extends is ['base']"),
        ("a: 1\n", "a: 1\n", "base", "'base' is asked for instead"),
        ("extends: base\n", "extends: deeper\na: 1\n", None, "which extends 'deeper'"),
        ("extends: nothing\n", "a: 1\n", None, "nothing.yaml does not exist"),
    ],
)
def test_layers_that_are_no_layers_are_refused(
    tmp_path: Path, above: str, below: str, base: str | None, told: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        read_layered(layered(tmp_path, above, below), base=base)
    assert told in raised.value.what


def test_an_unknown_key_of_a_layer_is_refused_as_any_other(tmp_path: Path) -> None:
    path = layered(tmp_path, "extends: base\nstepz: 4\n", "steps: 3\noptimiser: {learning_rate: 1.0e-4}\n")
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        parse_parameters(Stage, read_layered(path), where="profile.yaml")

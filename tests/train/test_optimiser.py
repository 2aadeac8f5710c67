"""Parameter groups: every parameter in exactly one, frozen components in none."""

from __future__ import annotations

import pytest
import torch

from trackyard.errors import ConfigError
from trackyard.parameters import parse_parameters
from trackyard.train.optimiser import parameter_groups, rates_at
from trackyard.train.parameters import ComponentRate, OptimiserParameters


def network() -> torch.nn.Module:
    return torch.nn.ModuleDict({"eye": torch.nn.Linear(2, 3), "mind": torch.nn.Linear(3, 4, bias=False)})


def first_part(name: str) -> str:
    return name.split(".")[0]


def rates(**values: float) -> dict[str, ComponentRate]:
    return {name: ComponentRate(learning_rate=value, warmup_steps=10) for name, value in values.items()}


def test_each_parameter_is_in_the_group_of_its_component() -> None:
    net = network()
    groups = parameter_groups(net, first_part, rates(mind=1e-3, eye=1e-4))
    assert [(group["name"], group["lr"], len(group["params"])) for group in groups] == [
        ("mind", 0.0, 1),
        ("eye", 0.0, 2),
    ]
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in net.parameters()}


def test_rate_zero_freezes_and_a_positive_one_thaws() -> None:
    net = network()
    groups = parameter_groups(net, first_part, rates(eye=0.0, mind=1e-3))
    assert [group["name"] for group in groups] == ["mind"]
    assert [p.requires_grad for p in net.parameters()] == [False, False, True]
    parameter_groups(net, first_part, rates(eye=1e-3, mind=1e-3))
    assert all(p.requires_grad for p in net.parameters())


def test_a_component_without_a_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no learning rate for component 'mind' \(rates: \['eye'\]\)"):
        parameter_groups(network(), first_part, rates(eye=1.0))


def test_a_rate_without_a_component_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"names \['ear'\], which the model does not have"):
        parameter_groups(network(), first_part, rates(eye=1.0, mind=1.0, ear=1.0))


def test_rates_of_a_step() -> None:
    found = rates_at(5, rates(eye=0.0, mind=1e-3), total=100)
    assert found == {"mind": pytest.approx(5e-4)}
    assert rates_at(55, rates(mind=1e-3), total=100, schedule="linear") == {"mind": pytest.approx(5e-4)}
    assert rates_at(100, rates(mind=1e-3), total=100) == {"mind": pytest.approx(1e-4)}


def test_the_defaults_are_those_of_the_report() -> None:
    parameters = OptimiserParameters(rates=rates(eye=1.0))
    assert (parameters.beta1, parameters.beta2, parameters.eps) == (0.9, 0.95, 1e-6)
    assert (parameters.weight_decay, parameters.clip_norm, parameters.schedule) == (0.0, 1.0, "cosine")


@pytest.mark.parametrize(
    ("field", "value"), [("learning_rate", -1e-3), ("learning_rate", 2), ("warmup_steps", -1), ("warmup_steps", 0.5)]
)
def test_impossible_rates_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field}={value}"):
        parse_parameters(ComponentRate, {"learning_rate": 0.1, "warmup_steps": 3} | {field: value}, where="x")

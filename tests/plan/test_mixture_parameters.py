"""Mixtures as they are written: limits on repeats, loss weights, and what is refused of both."""

from __future__ import annotations

from typing import Any

import pytest

from trackyard.errors import ConfigError
from trackyard.parameters import parse_parameters
from trackyard.plan.mixture import MixtureParameters, rates

FIXED = {"kind": "fixed", "ratios": {"captions": {"pixmo-cap": 0.6}, "text": {"tulu": 0.4}}}
GROUPS = {
    "kind": "hierarchical",
    "groups": {
        "g": {"weight": 1, "entries": [{"dataset": ["mevis", "revos"]}, {"dataset": "mevis", "name": "mevis-tail"}]}
    },
}


def _parameters(**values: Any) -> MixtureParameters:
    return parse_parameters(MixtureParameters, values, where="params.yaml: mixture")


def test_nothing_is_limited_or_weighted_unless_it_is_said() -> None:
    parameters = _parameters(kind="sqrt")
    assert parameters.max_epochs is None
    assert parameters.loss_weights == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [(FIXED, ("pixmo-cap", "tulu")), (GROUPS, ("mevis", "revos")), ({"kind": "sqrt"}, ())],
)
def test_the_datasets_that_are_named(values: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert _parameters(**values).datasets == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_epochs": 0}, "max_epochs=0"),
        ({"max_epochs": -1.5}, "max_epochs=-1.5"),
        ({"max_epochs": float("inf")}, "finite"),
        ({"loss_weights": {"tulu": 0.0}}, "loss_weights.tulu=0"),
        ({"loss_weights": {"tulu": float("nan")}}, "finite"),
        ({"loss_weight": {"tulu": 1.0}}, "did you mean 'loss_weights'"),
        (
            {"loss_weights": {"pixmocap": 0.5}},
            "'pixmocap', which the mixture does not draw from; did you mean 'pixmo-cap'",
        ),
    ],
)
def test_refusals(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _parameters(**FIXED, **values)
    _parameters(**FIXED, max_epochs=4, loss_weights={"pixmo-cap": 0.5})


def test_loss_weights_are_by_dataset_and_not_by_entry() -> None:
    assert _parameters(**GROUPS, loss_weights={"revos": 2, "mevis": 0.2}).loss_weights == {"revos": 2.0, "mevis": 0.2}
    with pytest.raises(ConfigError, match="did you mean 'mevis'"):
        _parameters(**GROUPS, loss_weights={"mevis-tail": 0.2})


def test_a_mixture_over_all_there_is_knows_its_names_when_they_are_counted() -> None:
    parameters = _parameters(kind="sqrt", reference_rows={"gone": 4}, loss_weights={"x": 0.5, "gone": 2})
    assert rates(parameters, {"x": 4}, strict=False).missing == ("gone",)
    with pytest.raises(ConfigError, match="'x', which the mixture does not draw from"):
        rates(parameters, {"y": 4}, strict=False)


def test_neither_changes_a_rate() -> None:
    sizes = {"pixmo-cap": 10, "tulu": 10}
    said = _parameters(**FIXED, max_epochs=1, loss_weights={"tulu": 0.1})
    assert rates(said, sizes, strict=True) == rates(_parameters(**FIXED), sizes, strict=True)

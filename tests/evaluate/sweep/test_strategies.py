from typing import Any

import pytest

from trackyard.errors import ConfigError
from trackyard.evaluate.sweep.levels import KnobLevels, Point
from trackyard.evaluate.sweep.strategies import STRATEGIES, Strategy, points

MOLMOE = KnobLevels(visual=(2, 4, 6, 8, 10), experts=(4, 8, 12), blocks=(12, 13, 14, 15, 16))
DENSE = KnobLevels(visual=(2, 4, 6, 8, 10), blocks=(27, 29, 32, 34, 36))


@pytest.mark.parametrize(
    ("strategy", "routed", "dense"),
    [("full", 75, 25), ("balanced", 27, 9), ("stratified", 27, 9), ("boundary", 27, 9), ("custom_sparse", 18, 9)],
)
def test_counts_of_the_spec(strategy: Strategy, routed: int, dense: int) -> None:
    for levels, count in ((MOLMOE, routed), (DENSE, dense)):
        found = points(levels, strategy)
        assert len(found) == len(set(found)) == count
        assert list(found) == [point for point in points(levels, "full") if point in set(found)], "product order"


def _levels(strategy: Strategy) -> list[set[Any]]:
    return [set(column) for column in zip(*points(MOLMOE, strategy), strict=True)]


def test_levels_of_the_spec() -> None:
    ends_and_middle = [{2, 6, 10}, {4, 8, 12}, {12, 14, 16}]
    assert _levels("balanced") == _levels("stratified") == _levels("boundary") == ends_and_middle
    assert _levels("custom_sparse") == [{2, 6, 10}, {4, 12}, {12, 14, 16}]


def test_boundary_takes_the_quarters_of_a_long_list_of_experts() -> None:
    levels = KnobLevels(visual=(2, 4), experts=(1, 2, 3, 4, 5, 6, 7, 8), blocks=(12, 16))
    assert {point.experts for point in points(levels, "boundary")} == {1, 3, 5, 7, 8}
    assert {point.experts for point in points(levels, "balanced")} == {1, 5, 8}


def test_order_is_that_of_the_product() -> None:
    found = points(MOLMOE, "full")
    assert found[:4] == (Point(2, 4, 12), Point(2, 4, 13), Point(2, 4, 14), Point(2, 4, 15))
    assert found[-1] == Point(10, 12, 16)


def test_a_knob_that_the_model_lacks_does_not_exist() -> None:
    assert {point.experts for strategy in STRATEGIES for point in points(DENSE, strategy, number=9)} == {None}
    assert points(KnobLevels(), "balanced") == (Point(None, None, None),)
    assert points(KnobLevels(visual=(3,)), "full") == (Point(3, None, None),)


@pytest.mark.parametrize(("levels", "number"), [(MOLMOE, 18), (DENSE, 18)])
def test_a_hypercube_has_the_number_that_was_asked_for(levels: KnobLevels, number: int) -> None:
    found = points(levels, "lhs", number=number, seed=3)
    assert len(set(found)) == number
    assert set(found) <= set(points(levels, "full"))
    assert list(found) == sorted(found, key=points(levels, "full").index)


def test_an_unknown_strategy_is_named() -> None:
    unknown: Any = "random"
    with pytest.raises(ConfigError, match="'random'") as error:
        points(MOLMOE, unknown)
    assert "custom_sparse" in error.value.why

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.frontier import (
    SCHEMA,
    FrontierPoint,
    frontier,
    jaccard,
    overlap,
    read_frontier,
    undominated,
    write_frontier,
)
from trackyard.sealed import read_sealed, write_sealed

SPEC = {"a": (100, 0.60), "b": (120, 0.60), "c": (120, 0.65), "d": (150, 0.65), "e": (90, 0.50)}
FIX = "again"


def point(key: str, x: float, y: float) -> FrontierPoint:
    return FrontierPoint(key=key, x=x, y=y, x_lo=x - 1, x_hi=x + 1, y_lo=y - 0.01, y_hi=y + 0.01)


def by_definition(points: list[tuple[float, float]]) -> list[bool]:
    return [not any(q[0] <= p[0] and q[1] >= p[1] and (q[0] < p[0] or q[1] > p[1]) for q in points) for p in points]


def test_example_of_the_spec() -> None:
    found = frontier("text_vqa", "t_total_ms.P50", "vqa", [point(key, *at) for key, at in SPEC.items()])
    assert found.keys == ("e", "a", "c")
    assert [each.key for each in found.points] == ["e", "a", "c", "b", "d"]


def test_duplicates_stay_together() -> None:
    assert undominated([(1, 2), (1, 2), (1, 1), (2, 2), (2, 3), (2, 3)]) == [True, True, False, False, True, True]


numbers = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(numbers, numbers), max_size=30))
def test_it_is_the_definition(points: list[tuple[float, float]]) -> None:
    assert undominated(points) == by_definition(points)


def test_the_rule_is_strict() -> None:
    # A slower point of equal accuracy would be kept by a rule that asks for better in both.
    assert undominated([(1, 2), (2, 2)]) == [True, False]
    assert undominated([(1, 2), (1, 1)]) == [True, False]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_numbers_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        undominated([(1, 2), (number, 2)])


@pytest.mark.parametrize("keys", ["", "aa"])
def test_each_configuration_is_one_point(keys: str) -> None:
    with pytest.raises(DataError, match=f"{len(keys)} points of {len(set(keys))} configurations"):
        frontier("mmmu", "x", "y", [point(key, 1, 1) for key in keys])


def test_a_frontier_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "frontier.json"
    found = frontier("mmmu", "x", "y", [point(key, *at) for key, at in SPEC.items()], watermark="PARTIAL")
    write_frontier(path, found)
    assert read_frontier(path, fix=FIX) == found
    body = read_sealed(path, SCHEMA, fix=FIX)
    assert set(body) == {"dataset", "x", "y", "points", "watermark"}
    assert set(body["points"][0]) == {"key", "x", "y", "x_lo", "x_hi", "y_lo", "y_hi", "on_frontier"}
    del body["points"][0]["on_frontier"], body["points"][0]["x"]
    write_sealed(path, SCHEMA, body)
    with pytest.raises(DataError, match="no frontier"):
        read_frontier(path, fix=FIX)


sets = st.sets(st.sampled_from("abcdefgh"))


@given(sets, sets)
def test_jaccard(one: set[str], other: set[str]) -> None:
    found = jaccard(one, other)
    assert found == jaccard(other, one)
    assert (found == 1) is (one == other)
    assert (found == 0) is (not one & other and bool(one | other))


def test_overlap_of_data_sets() -> None:
    found = overlap({"a": ["1", "2", "3"], "b": ["2", "3", "4"], "c": ["9"]})
    assert found["a"] == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert all(found[one][other] == found[other][one] for one, other in product("abc", repeat=2))

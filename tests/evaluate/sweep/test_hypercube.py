from collections import Counter
from collections.abc import Sequence
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.evaluate.sweep.hypercube import hypercube

Rows = Sequence[tuple[int, ...]]


def is_hypercube(rows: Rows, sizes: Sequence[int]) -> bool:
    """Whether points are distinct, and every level of every list occurs floor or ceil(N / levels) times."""
    for column, size in enumerate(sizes):
        times = Counter(row[column] for row in rows)
        if any(not len(rows) // size <= times[level] <= -(-len(rows) // size) for level in range(size)):
            return False
    return len(set(rows)) == len(rows)


@pytest.mark.parametrize(("sizes", "most"), [((5, 3, 5), 75), ((5, 1, 5), 25)])
def test_every_number_of_points_of_the_spec(sizes: tuple[int, ...], most: int) -> None:
    for number in range(1, most + 1):
        for seed in (0, 1):
            rows = hypercube(sizes, number, seed=seed)
            assert len(rows) == number
            assert is_hypercube(rows, sizes), (number, seed)
            assert rows == sorted(rows) == hypercube(sizes, number, seed=seed)


def test_eighteen_points_of_the_spec() -> None:
    rows = hypercube((5, 3, 5), 18, seed=0)
    times = [sorted(Counter(row[column] for row in rows).values()) for column in range(3)]
    assert times == [[3, 3, 4, 4, 4], [6, 6, 6], [3, 3, 4, 4, 4]]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data())
def test_any_lists(sizes: list[int], data: st.DataObject) -> None:
    rows = hypercube(sizes, data.draw(st.integers(1, prod(sizes))), seed=data.draw(st.integers(0, 99)))
    assert is_hypercube(rows, sizes)


def test_seeds_differ() -> None:
    assert len({tuple(hypercube((5, 3, 5), 18, seed=seed)) for seed in range(20)}) == 20


def test_columns_are_independent() -> None:
    # Were a column tied to another one, some pair of levels would be met far more often than others over many seeds.
    met = Counter(row[:2] for seed in range(400) for row in hypercube((5, 3, 5), 6, seed=seed))
    assert len(met) == 15
    assert max(met.values()) < 1.5 * min(met.values())


def test_the_check_can_fail() -> None:
    assert not is_hypercube([(0, 0), (0, 1), (1, 0), (1, 0)], (2, 2))
    assert not is_hypercube([(0, 0), (0, 1)], (2, 2))


@pytest.mark.parametrize("number", [0, 76])
def test_more_points_than_combinations_are_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=f"{number} points over 5 x 3 x 5"):
        hypercube((5, 3, 5), number, seed=0)

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.sweep.nested import kept

LOWEST = {4: 0.001, 13: 0.002, 10: 0.003, 2: 0.004}
ORIGIN: list[float | None] = [LOWEST.get(block, 0.01 + block / 1_000) for block in range(16)]


@pytest.mark.parametrize(
    ("number", "removed"), [(16, set()), (15, {4}), (14, {4, 13}), (13, {4, 10, 13}), (12, {2, 4, 10, 13})]
)
def test_example_of_the_spec(number: int, removed: set[int]) -> None:
    assert kept(ORIGIN, number) == tuple(block for block in range(16) if block not in removed)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, -0.3]) | st.floats(-1, 1), min_size=2, max_size=40))
def test_each_set_is_within_the_next(scores: list[float]) -> None:
    sets = [kept(scores, number) for number in range(2, len(scores) + 1)]
    assert sets[0] == (0, len(scores) - 1)
    assert sets[-1] == tuple(range(len(scores)))
    for smaller, larger in pairwise(sets):
        assert set(smaller) < set(larger)
        assert len(larger) == len(smaller) + 1


def test_of_equally_important_blocks_the_lower_stays() -> None:
    assert kept([0.5, 0.2, 0.2, 0.2, 0.5], 3) == (0, 1, 4)


def test_the_ends_stay_whatever_they_are_worth() -> None:
    assert kept([-9.0, 0.2, 0.1, None], 3) == (0, 1, 3)
    assert kept([None], 1) == (0,)


@pytest.mark.parametrize("number", [0, 1, 17])
def test_fewer_than_the_ends_or_more_than_all_are_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=f"{number} of 16 blocks"):
        kept(ORIGIN, number)


@pytest.mark.parametrize("score", [None, float("nan")])
def test_an_inner_block_without_a_score_is_named(score: float | None) -> None:
    with pytest.raises(DataError, match="block 3 of 16"):
        kept([*ORIGIN[:3], score, *ORIGIN[4:]], 12)

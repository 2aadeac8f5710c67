from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trackyard.snapshot.decoding import chosen


@given(total=st.integers(1, 500), decode=st.integers(2, 600))
def test_rows_are_chosen_evenly_from_the_first_to_the_last(total: int, decode: int) -> None:
    numbers = list(chosen(total, decode))
    assert len(numbers) == min(total, decode)
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, total - 1)
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    assert not steps or max(steps) - min(steps) <= 1


def test_one_none_and_all() -> None:
    assert list(chosen(5, 1)) == [0]
    assert list(chosen(5, "all")) == [0, 1, 2, 3, 4]
    assert list(chosen(0, "all")) == list(chosen(0, 3)) == []

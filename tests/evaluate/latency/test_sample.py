from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.evaluate.latency.sample import stratified_sample

LEVELS = st.lists(st.sampled_from([392, 518, 725, 955, 1162, 1582]), min_size=1, max_size=60)


@given(LEVELS, st.integers(1, 80), st.integers(0, 5))
def test_every_level_has_its_share_to_one_id(levels: list[int], n: int, seed: int) -> None:
    tokens = {f"d:validation:{number}": level for number, level in enumerate(levels)}
    chosen = stratified_sample(tokens, n, seed)
    assert len(set(chosen)) == len(chosen) == min(n, len(tokens))
    wanted, found = Counter(levels), Counter(tokens[name] for name in chosen)
    for level, number in wanted.items():
        share = number * min(1.0, n / len(levels))
        assert abs(found[level] - share) <= 1.0
    assert stratified_sample(dict(reversed(tokens.items())), n, seed) == chosen


def test_the_seed_decides_among_equals_and_the_order_is_not_that_of_size() -> None:
    tokens = {str(number): 100 * (number // 25) for number in range(100)}
    first, second = (stratified_sample(tokens, 40, seed) for seed in (0, 1))
    assert set(first) != set(second)
    assert [Counter(tokens[name] for name in chosen) for chosen in (first, second)] == [
        {0: 10, 100: 10, 200: 10, 300: 10}
    ] * 2
    assert [tokens[name] for name in first] != sorted(tokens[name] for name in first)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 latency samples"):
        stratified_sample({"a": 1}, 0, 0)

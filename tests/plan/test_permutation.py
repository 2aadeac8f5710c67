"""The permutation is a bijection, depends on its key, and any position can be asked for alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.plan.permutation import permutation_key, permute


@given(n=st.integers(1, 5000), key=st.integers(0, 2**64 - 1))
def test_bijective(n: int, key: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(n), n, key)), np.arange(n))


@given(n=st.integers(1, 300), keys=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
def test_many_keys_at_once_and_single_positions(n: int, keys: list[int]) -> None:
    index = np.tile(np.arange(n), len(keys))
    together = permute(index, n, np.repeat(np.array(keys, dtype=np.uint64), n)).reshape(len(keys), n)
    for row, key in zip(together, keys, strict=True):
        assert np.array_equal(row, permute(np.arange(n), n, key))
        assert permute(np.array([n - 1]), n, key)[0] == row[-1]


@pytest.mark.parametrize("n", [2, 3, 5, 8, 100])
def test_every_row_is_first_equally_often(n: int) -> None:
    draws = 200 * n
    keys = np.array([permutation_key(0, "x", epoch) for epoch in range(draws)], dtype=np.uint64)
    counts = np.bincount(permute(np.zeros(draws, dtype=np.int64), n, keys), minlength=n)
    chi_square = ((counts - 200) ** 2 / 200).sum()
    assert chi_square < n - 1 + 5 * np.sqrt(2 * n)


def test_large_sets_are_mixed() -> None:
    n = 100_003
    image = permute(np.arange(n), n, permutation_key(0, "x", 0))
    assert abs(np.corrcoef(np.arange(n), image)[0, 1]) < 0.02
    assert np.mean(np.abs(np.diff(image)) == 1) < 0.001


def test_key_depends_on_each_part_and_never_changes() -> None:
    keys = {permutation_key(*parts) for parts in ((0, "x", 0), (1, "x", 0), (0, "y", 0), (0, "x", 1))}
    assert len(keys) == 4
    # Recorded: another value here is another order of every plan, and needs another plan algorithm number.
    assert permute(np.arange(8), 8, permutation_key(0, "x", 0)).tolist() == [3, 6, 5, 0, 2, 7, 1, 4]

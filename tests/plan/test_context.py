"""Context parallelism as numbers: the examples of molmo2 spec section 12, and what is refused with which words."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.plan.context import Share, check_degree, padded_length, split_inputs

FOUR_B: dict[str, int] = {
    "heads": 32, "kv_heads": 8, "length": 36_864, "world": 16, "ranks": 2, "packs_per_step": 128,
}  # fmt: skip


def test_the_4b_at_36864_over_eight_ranks() -> None:
    assert padded_length(36_864, 8, 128) == 36_864
    assert check_degree(8, **FOUR_B) == Share(tokens=4_608, heads=4, kv_heads=1)


def test_more_ranks_than_key_heads_repeat_them() -> None:
    assert check_degree(16, **FOUR_B | {"ranks": 1}) == Share(tokens=2_304, heads=2, kv_heads=1, kv_copies=2)


def test_packs_may_be_checked_elsewhere() -> None:
    without = {name: value for name, value in FOUR_B.items() if name != "packs_per_step"}
    assert check_degree(8, **without | {"ranks": 3, "world": 24}) == check_degree(8, **FOUR_B)


def test_degree_one_changes_nothing() -> None:
    assert check_degree(1, **FOUR_B | {"ranks": 16}) == Share(tokens=36_864, heads=32, kv_heads=8)


@pytest.mark.parametrize(
    ("degree", "change", "reason"),
    [
        (3, {"ranks": 1, "world": 3, "heads": 32}, "32 attention heads do not divide over 3 ranks"),
        (8, {"length": 36_860}, "packs of 36860 tokens do not divide over 8 ranks"),
        (8, {"kv_heads": 3}, "3 key and value heads neither divide over 8 ranks nor repeat evenly"),
        (4, {"kv_heads": 6, "ranks": 4}, "6 key and value heads neither divide over 4 ranks nor repeat evenly"),
        (8, {"world": 8}, "2 data-parallel ranks of 8 are not 8 processes"),
        (8, {"ranks": 3, "world": 24}, "128 packs a step do not divide over 3 data-parallel ranks"),
        (0, {}, "degree 0 and 2 data-parallel ranks are no group"),
    ],
)
def test_refusals(degree: int, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_degree(degree, **FOUR_B | change)
    assert reason in caught.value.what
    assert caught.value.exit_code == 2


def test_every_reason_is_given_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check_degree(3, heads=32, kv_heads=8, length=100, world=8, ranks=3, packs_per_step=128)
    assert caught.value.what.count(";") == 4


@given(st.integers(1, 10**6), st.integers(1, 64), st.sampled_from([1, 16, 128]))
def test_padding_is_the_least_that_divides(tokens: int, degree: int, block: int) -> None:
    padded = padded_length(tokens, degree, block)
    assert padded % degree == padded % block == 0
    assert not any(length % degree == length % block == 0 for length in range(tokens, min(padded, tokens + 300)))
    assert tokens <= padded < tokens + degree * block


@pytest.mark.parametrize(
    ("counts", "degree", "expected"),
    [
        ([9, 1, 1, 5], 2, [[0], [1, 2, 3]]),
        ([1, 1, 6], 2, [[0, 1], [2]]),
        ([2, 2, 2], 4, [[0], [1], [2], []]),
        ([], 2, [[], []]),
        ([5], 3, [[0], [], []]),
    ],
)
def test_examples_of_the_split(counts: list[int], degree: int, expected: list[list[int]]) -> None:
    assert split_inputs(counts, degree) == expected


def test_128_frames_over_eight_ranks_are_sixteen_each() -> None:
    assert split_inputs([1] * 128, 8) == [list(range(16 * rank, 16 * rank + 16)) for rank in range(8)]


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(1, 16))
def test_every_input_has_one_rank_in_order(counts: list[int], degree: int) -> None:
    split = split_inputs(counts, degree)
    assert len(split) == degree
    assert [place for part in split for place in part] == list(range(len(counts)))
    for before, part in pairwise(split):
        assert part or len(before) <= 1, "an idle rank leaves nothing that it could take"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), st.integers(1, 16))
def test_no_rank_goes_further_past_its_part_than_one_medium(counts: list[int], degree: int) -> None:
    done = 0
    for rank, part in enumerate(split_inputs(counts, degree)):
        done += sum(counts[place] for place in part)
        if part:
            assert done * degree < (rank + 1) * sum(counts) + max(counts) * degree


@pytest.mark.parametrize(("counts", "degree"), [([1, 0], 2), ([1], 0)])
def test_impossible_inputs_are_refused(counts: list[int], degree: int) -> None:
    with pytest.raises(ConfigError, match="visual inputs"):
        split_inputs(counts, degree)

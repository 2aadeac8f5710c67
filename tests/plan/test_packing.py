"""Packing: exact examples of molmo2 spec 9, exhaustive search on small pools, exact number of packs from a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, combinations, cycle, repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.digest import digest_json
from trackyard.errors import ConfigError
from trackyard.plan.bound import least_packs
from trackyard.plan.packing import Budget, Int64s, Rows, best_subset, first_fit_decreasing, pack_stream

TOKENS, INPUTS = [70, 50, 50, 30], [0, 2, 2, 1]
LIMIT = Budget(tokens=100, inputs=6)

rows = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 6)), min_size=1, max_size=10)
many_rows = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 6)), min_size=13, max_size=48)
weight = st.sampled_from((0, 1, 30))


def _value(chosen: list[int], pool: list[tuple[int, int]], image_weight: int) -> int:
    return sum(pool[k][0] + image_weight * pool[k][1] for k in chosen)


def _fits(chosen: list[int], pool: list[tuple[int, int]], budget: Budget) -> bool:
    return sum(pool[k][0] for k in chosen) <= budget.tokens and sum(pool[k][1] for k in chosen) <= budget.inputs


def _columns(pool: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [row[0] for row in pool], [row[1] for row in pool]


@pytest.mark.parametrize(
    ("inputs", "expected", "value"), [(4, [[1, 2]], 220), (3, [[1, 3], [2, 3]], 170), (1, [[0, 3]], 130)]
)
def test_examples(inputs: int, expected: list[list[int]], value: int) -> None:
    chosen = best_subset(TOKENS, INPUTS, budget=Budget(tokens=100, inputs=inputs))
    assert chosen in expected
    assert _value(chosen, list(zip(TOKENS, INPUTS, strict=True)), 30) == value


def test_exact_fill_is_found_at_unit_one() -> None:
    lengths = [5461, 5461, 5462]
    budget = Budget(tokens=16_384, inputs=128)
    assert best_subset(lengths, [0, 0, 0], budget=budget) == [0, 1, 2]
    rounded = [-(-length // 32) * 32 for length in lengths]
    assert len(best_subset(rounded, [0, 0, 0], budget=budget)) == 2


@given(pool=rows, image_weight=weight)
def test_exact_on_small_pools(pool: list[tuple[int, int]], image_weight: int) -> None:
    chosen = best_subset(*_columns(pool), budget=LIMIT, image_weight=image_weight)
    subsets = chain.from_iterable(combinations(range(len(pool)), size) for size in range(1, len(pool) + 1))
    best = max(_value(list(s), pool, image_weight) for s in subsets if _fits(list(s), pool, LIMIT))
    assert _fits(chosen, pool, LIMIT)
    assert _value(chosen, pool, image_weight) == best


@given(pool=many_rows, image_weight=weight, with_heaviest=st.booleans())
def test_never_worse_than_first_fit_decreasing(
    pool: list[tuple[int, int]], image_weight: int, with_heaviest: bool
) -> None:
    columns = _columns(pool)
    chosen = best_subset(*columns, budget=LIMIT, image_weight=image_weight, with_heaviest=with_heaviest, nodes=1)
    first = first_fit_decreasing(*columns, budget=LIMIT, image_weight=image_weight)[0]
    assert _fits(chosen, pool, LIMIT)
    assert _value(chosen, pool, image_weight) >= _value(first, pool, image_weight)
    if with_heaviest:
        assert max(_value([k], pool, image_weight) for k in range(len(pool))) in {
            _value([k], pool, image_weight) for k in chosen
        }


def test_empty_pool() -> None:
    assert best_subset([], [], budget=LIMIT) == []


@given(pool=many_rows)
def test_bins_hold_every_row_once_within_the_budget(pool: list[tuple[int, int]]) -> None:
    bins = first_fit_decreasing(*_columns(pool), budget=LIMIT)
    assert sorted(chain.from_iterable(bins)) == list(range(len(pool)))
    assert all(_fits(members, pool, LIMIT) for members in bins)


ROW = np.dtype([("tokens", "<i4"), ("inputs", "<i4"), ("draw", "<i4")])


def _blocks(pattern: list[tuple[int, int]], lengths: Iterable[int]) -> Iterator[Rows]:
    """The pattern again and again, in blocks of these lengths."""
    start = 0
    for length in lengths:
        numbers = np.arange(start, start + length)
        block = np.zeros(length, ROW)
        block["tokens"], block["inputs"] = np.array(pattern)[numbers % len(pattern)].T
        block["draw"] = numbers
        start += length
        yield block


def _packs(packed: Iterable[tuple[Rows, Int64s]]) -> list[list[int]]:
    """Draw numbers of every pack."""
    return [
        part.tolist() for rows, sizes in packed for part in np.split(rows["draw"], np.cumsum(sizes)[:-1]) if len(sizes)
    ]


@given(
    pattern=st.lists(st.tuples(st.integers(1, 100), st.integers(0, 6)), min_size=1, max_size=40),
    total=st.integers(1, 40),
    pool=st.integers(1, 20),
    image_weight=weight,
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5),
)
def test_stream_gives_exactly_the_packs_asked_for(
    pattern: list[tuple[int, int]], total: int, pool: int, image_weight: int, lengths: list[int]
) -> None:
    packs, again = (
        _packs(pack_stream(_blocks(pattern, sizes), budget=LIMIT, total=total, image_weight=image_weight, pool=pool))
        for sizes in (repeat(1000), cycle(lengths))
    )
    assert packs == again, "the same in blocks of any length"
    assert len(packs) == total
    emitted = sorted(chain.from_iterable(packs))
    assert emitted == list(range(len(emitted))), "a prefix of the draws, each once"
    drawn = [pattern[k % len(pattern)] for k in range(len(emitted))]
    assert all(pack and pack == sorted(pack) and _fits(pack, drawn, LIMIT) for pack in packs)


def test_stream_is_well_filled_and_stays_as_it_is() -> None:
    """Long rows with many inputs beside short ones: fill stays near the bound that the inputs set."""
    generator = np.random.default_rng(0)
    inputs = np.where(generator.random(4000) < 0.3, generator.integers(8, 129, 4000), generator.integers(0, 9, 4000))
    tokens = 83 * inputs + generator.integers(20, 3000, 4000)
    drawn = list(zip(tokens.tolist(), inputs.tolist(), strict=True))
    budget = Budget(tokens=16_384, inputs=128)
    packs = _packs(pack_stream(_blocks(drawn, [4000]), budget=budget, total=500))
    used = sorted(chain.from_iterable(packs))
    need = least_packs(int(tokens[used].sum()), int(inputs[used].sum()), budget=budget)
    assert need / len(packs) > 0.97
    # Recorded before the loops were compiled: other packs are other plans, and need another plan algorithm number.
    assert digest_json(packs) == "031873fdba0f27b55ac43532ca2201aa248d7e84c9dba65d03565670dbc7e15c"


@pytest.mark.parametrize("row", [(101, 0), (10, 7), (0, 0)])
def test_row_that_fits_no_pack_is_refused(row: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=f"draw 1 has {row[0]} tokens and {row[1]} inputs"):
        list(pack_stream(_blocks([(5, 0), row], [2]), budget=LIMIT, total=2))


def test_draws_that_end_too_early_are_refused() -> None:
    with pytest.raises(ValueError, match="3 draws made 0 packs of 9"):
        list(pack_stream(_blocks([(5, 0)], [3]), budget=LIMIT, total=9))


@pytest.mark.parametrize("values", [(0, 3), (10, -1)])
def test_budget_refuses_what_holds_nothing(values: tuple[int, int]) -> None:
    with pytest.raises(ConfigError):
        Budget(tokens=values[0], inputs=values[1])

"""The draw order: exact sequences of molmo2 spec 4.6, the prefix bound of 4.5, any window equals the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.plan.draw import MOST, Draws, Int64s, counts_before, draw_order
from trackyard.plan.permutation import permutation_key, permute

ABC = {"a1": 0.2, "a2": 0.4, "b1": 0.12, "b2": 0.18, "c1": 0.1}
STAGE1 = {"cap": 0.60, "points": 0.15, "count": 0.10, "cosyn": 0.05, "text": 0.10}

weights = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=12)


def _names(rates: dict[str, float], stop: int) -> str:
    names = list(rates)
    return " ".join(names[k] for k in draw_order(list(rates.values()), 0, stop)[0])


def _normalised(values: list[float]) -> list[float]:
    return [value / sum(values) for value in values]


def test_first_draws() -> None:
    assert _names(ABC, 25) == "a2 a1 b2 a2 b1 c1 a2 a1 b2 a2 a2 a1 b1 a2 b2 c1 a2 a1 a2 b2 b1 a2 a1 a2 b2"
    assert (
        _names(STAGE1, 20)
        == "cap cap points cap count text cap cap cap points cosyn cap cap cap count text cap points cap cap"
    )


@pytest.mark.parametrize(
    ("prefix", "counts"), [(10, [2, 4, 1, 2, 1]), (50, [10, 20, 6, 9, 5]), (1000, [200, 400, 120, 180, 100])]
)
def test_counts(prefix: int, counts: list[int]) -> None:
    assert np.bincount(draw_order(list(ABC.values()), 0, prefix)[0]).tolist() == counts


@given(values=weights, stop=st.integers(1, 400))
def test_prefix_bound(values: list[float], stop: int) -> None:
    p = np.array(_normalised(values))
    entry, number = draw_order(p.tolist(), 0, stop)
    counts = np.zeros(len(p), dtype=int)
    for done, (which, own) in enumerate(zip(entry, number, strict=True), start=1):
        assert own == counts[which]
        counts[which] += 1
        assert (np.abs(counts - done * p) <= 1 + p * len(p) / 2 + 1e-9).all()


@given(values=weights, start=st.integers(0, 3000), length=st.integers(0, 300))
def test_any_window_equals_the_whole(values: list[float], start: int, length: int) -> None:
    p = _normalised(values)
    whole, window = draw_order(p, 0, start + length), draw_order(p, start, start + length)
    for all_of, part in zip(whole, window, strict=True):
        assert np.array_equal(all_of[start:], part)


def test_seek_far() -> None:
    entry, number = draw_order(list(ABC.values()), 10**8, 10**8 + 1000)
    assert np.bincount(entry).tolist() == [200, 400, 120, 180, 100]
    assert number[entry == 1][0] == 4 * 10**7


@pytest.mark.parametrize("rates", [[], [0.5, 0.6], [1.0, 0.0], [1.5, -0.5]])
def test_refuses_what_is_no_distribution(rates: list[float]) -> None:
    with pytest.raises(ConfigError):
        draw_order(rates, 0, 10)


def row_of(seed: int, dataset: str, rows: int, draws: Int64s) -> tuple[Int64s, Int64s]:
    """Position and epoch of each draw of a dataset, one by one, as the specification defines them."""
    found = [
        permute(np.array([number % rows]), rows, permutation_key(seed, dataset, number // rows))[0]
        for number in draws.tolist()
    ]
    return np.array(found, dtype=np.int64), draws // rows


@settings(max_examples=40)
@given(rows=st.integers(1, 60), seed=st.integers(0, 3), epochs=st.integers(1, 4))
def test_each_row_once_per_epoch(rows: int, seed: int, epochs: int) -> None:
    row, epoch = row_of(seed, "x", rows, np.arange(rows * epochs))
    for number in range(epochs):
        assert sorted(row[epoch == number]) == list(range(rows))


def test_epochs_seeds_and_datasets_differ_in_order() -> None:
    orders = {
        tuple(row_of(seed, dataset, 50, np.arange(epoch * 50, epoch * 50 + 50))[0].tolist())
        for seed in (0, 1)
        for dataset in ("x", "y")
        for epoch in (0, 1)
    }
    assert len(orders) == 8


@settings(max_examples=40)
@given(values=weights, position=st.integers(0, 3000))
def test_counts_before_are_those_of_the_order(values: list[float], position: int) -> None:
    p = _normalised(values)
    entry, _ = draw_order(p, 0, position)
    assert counts_before(p, position).tolist() == np.bincount(entry, minlength=len(p)).tolist()


def _draws(values: list[float], datasets: list[int], sizes: list[int]) -> Draws:
    names = [f"d{number}" for number in range(len(sizes))]
    return Draws(seed=5, rates=_normalised(values), dataset_of=np.array(datasets), names=names, sizes=np.array(sizes))


@settings(max_examples=40)
@given(data=st.data(), values=weights, start=st.integers(0, 2000), length=st.integers(0, 300))
def test_blocks_of_rows(data: st.DataObject, values: list[float], start: int, length: int) -> None:
    """Any block equals the rows drawn one by one, where entries of one dataset share its epochs."""
    datasets = data.draw(st.lists(st.integers(0, 2), min_size=len(values), max_size=len(values)))
    sizes = data.draw(st.lists(st.integers(1, 400), min_size=3, max_size=3))
    draws = _draws(values, datasets, sizes)
    entry, dataset, place, epoch = draws.block(start, start + length)
    order, _ = draw_order(draws.rates, 0, start + length)
    assert np.array_equal(entry, order[start:])
    for number, size in enumerate(sizes):
        of = np.array(datasets)[order] == number
        here = of[start:]
        own = np.cumsum(of)[start:][here] - 1
        places, epochs = row_of(5, f"d{number}", size, own)
        assert (dataset[here] == number).all()
        assert np.array_equal(place[here], places)
        assert np.array_equal(epoch[here], epochs)


def test_seek_to_a_row_far_away() -> None:
    draws = _draws(list(ABC.values()), [0, 1, 2, 3, 4], [1000, 7, 50_000, 3, 10**6])
    far = draws.block(10**8, 10**8 + 64)
    near = [
        np.concatenate(parts)
        for parts in zip(*(draws.block(10**8 + k, 10**8 + k + 16) for k in (0, 16, 32, 48)), strict=True)
    ]
    assert all(np.array_equal(one, other) for one, other in zip(far, near, strict=True))


def test_too_many_entries_are_refused() -> None:
    rates = [1 / (MOST + 1)] * (MOST + 1)
    with pytest.raises(ConfigError, match="16 bits"):
        Draws(seed=0, rates=rates, dataset_of=np.zeros(MOST + 1, dtype=int), names=["x"], sizes=np.array([5]))

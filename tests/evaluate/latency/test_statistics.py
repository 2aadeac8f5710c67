from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.latency.statistics import part_ms, summarise, summarise_rows


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_percentiles_of_one_to_a_hundred_are_those_of_the_specification() -> None:
    found = summarise(np.arange(1, 101), rng=_rng())
    assert (found.p50, found.p95, found.p99) == pytest.approx((50.5, 95.05, 99.01), abs=1e-12)
    assert (found.n, found.mean, found.min, found.max) == (100, 50.5, 1.0, 100.0)
    assert found.std == pytest.approx(29.0114919758)
    assert found.p50_ci95 is not None
    assert 40 < found.p50_ci95.low < 50.5 < found.p50_ci95.high < 61


def test_the_interval_is_the_same_for_the_same_seed_and_covers_the_median_as_often_as_it_says() -> None:
    draws = np.random.default_rng(5)
    covered = 0
    for number in range(200):
        values = draws.lognormal(0.0, 0.5, size=60)
        found = summarise(values, rng=np.random.default_rng(number), resamples=400)
        assert found == summarise(values, rng=np.random.default_rng(number), resamples=400)
        assert found.p50_ci95 is not None
        covered += found.p50_ci95.low <= 1.0 <= found.p50_ci95.high
    assert 0.90 <= covered / 200 <= 0.99


@given(st.lists(st.floats(0.0, 1e6), min_size=2, max_size=50))
def test_statistics_lie_in_their_order_whatever_the_order_of_samples(values: list[float]) -> None:
    found = summarise(values, rng=_rng(), resamples=50)
    assert found.min <= found.p50 <= found.p95 <= found.p99 <= found.max
    again = summarise(sorted(values), rng=_rng(), resamples=50)
    assert (again.p50, again.p95, again.p99) == (found.p50, found.p95, found.p99)
    assert found.p50_ci95 is not None
    assert found.min <= found.p50_ci95.low <= found.p50_ci95.high <= found.max


def test_one_sample_has_no_spread_and_none_has_no_statistics() -> None:
    alone = summarise([7.0], rng=_rng())
    assert (alone.p99, alone.std, alone.p50_ci95) == (7.0, 0.0, None)
    assert alone.to_json()["p50_ci95"] is None
    for nothing in ([], [1.0, float("nan")]):
        with pytest.raises(DataError, match="statistics of"):
            summarise(nothing, rng=_rng())


def _row(decode: float, n_out: int, *, warmup: bool = False, valid: bool = True) -> dict[str, Any]:
    times = {"t_pre_ms": 1.0, "t_vision_ms": 2.0, "t_prefill_ms": 3.0, "t_decode_ms": decode, "t_total_ms": 5 + decode}
    return {**times, "n_out": n_out, "warmup": warmup, "valid": valid}


def test_warm_up_and_invalid_samples_do_not_count_and_single_tokens_have_no_step() -> None:
    rows = [_row(999.0, 9, warmup=True), _row(500.0, 3, valid=False), _row(40.0, 5), _row(20.0, 3), _row(0.0, 1)]
    found = summarise_rows(rows, rng=_rng())
    assert (found.counted, found.warmup, found.invalid, found.n_out) == (3, 1, 1, 3.0)
    assert (found.parts["total"].n, found.parts["total"].max) == (3, 45.0)
    assert (found.parts["step"].n, found.parts["step"].p50) == (2, 10.0)
    assert found.parts["decode"].p50 == 20.0
    assert part_ms(rows[-1], "step") is None
    only_one_token = summarise_rows([_row(0.0, 1)], rng=_rng())
    assert "step" not in only_one_token.parts


def test_a_configuration_of_which_nothing_counts_is_refused() -> None:
    with pytest.raises(DataError, match="none of 1 latency samples counts, and 1 were warm-up"):
        summarise_rows([_row(1.0, 2, warmup=True), _row(1.0, 2, valid=False)], rng=_rng())


def test_five_hundred_samples_are_summarised_at_once() -> None:
    start = time.perf_counter()
    summarise(np.random.default_rng(0).random(500), rng=_rng())
    assert time.perf_counter() - start < 2.0

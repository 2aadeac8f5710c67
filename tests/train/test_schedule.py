"""Exact rates of molmo2 spec sections 2 and 17 (item 6), and of pile-ffn spec section 6."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.train.schedule import FLOOR, learning_rate


@pytest.mark.parametrize(
    ("step", "base", "warmup", "total", "rate"),
    [
        (1_000, 2e-5, 2_000, 32_000, 1e-5),
        (2_000, 2e-5, 2_000, 32_000, 2e-5),
        (17_000, 2e-5, 2_000, 32_000, 1.1e-5),
        (32_000, 2e-5, 2_000, 32_000, 2e-6),
        (16_100, 2e-4, 200, 32_000, 1.1e-4),
        (15_100, 1e-5, 200, 30_000, 5.5e-6),
        (1_100, 5e-6, 200, 2_000, 2.75e-6),
        (0, 2e-5, 2_000, 32_000, 0.0),
        (100_000, 2e-5, 2_000, 32_000, 2e-6),
    ],
)
def test_the_report(step: int, base: float, warmup: int, total: int, rate: float) -> None:
    assert learning_rate(step, base=base, warmup=warmup, total=total) == pytest.approx(rate, rel=1e-12)


@given(st.integers(0, 500), st.integers(1, 500), st.floats(1e-8, 1e-2))
def test_up_then_down_between_zero_and_base(warmup: int, length: int, base: float) -> None:
    total = warmup + length
    rates = [learning_rate(step, base=base, warmup=warmup, total=total) for step in range(total + 3)]
    assert rates[warmup] == pytest.approx(base)
    assert all(a < b for a, b in pairwise(rates[: warmup + 1]))
    assert all(a >= b for a, b in pairwise(rates[warmup:]))
    assert rates[total] == rates[-1] == base * FLOOR


def test_a_warmup_as_long_as_the_stage_never_divides_by_zero() -> None:
    assert learning_rate(9, base=1.0, warmup=10, total=10) == 0.9
    assert learning_rate(10, base=1.0, warmup=10, total=10) == FLOOR
    assert learning_rate(3, base=1.0, warmup=10, total=2) == 0.3


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.0), (500, 2.5e-5), (1_000, 5e-5), (5_500, 2.5e-5), (9_999, 5e-5 / 9_000), (10_000, 0.0)]
)
def test_a_line_to_zero(step: int, rate: float) -> None:
    found = learning_rate(step, base=5e-5, warmup=1_000, total=10_000, schedule="linear")
    assert found == pytest.approx(rate, rel=1e-12)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 120))
def test_a_line_stays_between_zero_and_base(warmup: int, length: int, step: int) -> None:
    assert 0.0 <= learning_rate(step, base=1.0, warmup=warmup, total=warmup + length, schedule="linear") <= 1.0

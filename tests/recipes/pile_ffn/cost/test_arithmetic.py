"""The golden values of pile-ffn spec section 13."""

from __future__ import annotations

import pytest

from trackyard.recipes.pile_ffn.cost import arithmetic
from trackyard.recipes.pile_ffn.cost.sizes import FULL_STEPS, SIZES, TOKENS_PER_STEP

P = SIZES["pythia-1.4b"].parameters
FULL = FULL_STEPS * TOKENS_PER_STEP


def test_budgets() -> None:
    assert (TOKENS_PER_STEP, FULL, 1_000 * TOKENS_PER_STEP) == (65_536, 655_360_000, 65_536_000)


def test_bytes() -> None:
    assert arithmetic.packed_bytes(FULL, 50_304) == 1_310_720_000
    assert 3 * arithmetic.packed_bytes(FULL, 50_304) == 3_932_160_000
    assert arithmetic.state_bytes(P) == 16_975_773_696
    assert 3 * arithmetic.state_bytes(P) == pytest.approx(50.93e9, rel=1e-4)
    assert arithmetic.export_bytes(P) == (2_829_295_616, 5_658_591_232)


@pytest.mark.parametrize(("vocabulary", "each"), [(512, 2), (65_536, 2), (65_537, 4), (128_256, 4), (151_936, 4)])
def test_ids_that_do_not_fit_16_bits_take_32(vocabulary: int, each: int) -> None:
    assert arithmetic.packed_bytes(1_000, vocabulary) == 1_000 * each


def test_operations() -> None:
    plain, recomputed = arithmetic.token_flops(P)
    assert plain == pytest.approx(8.49e9, rel=1e-3)
    assert recomputed == pytest.approx(1.13e10, rel=2e-3)


def test_the_published_run() -> None:
    rate, useful = arithmetic.reference_rate(), arithmetic.reference_rate(useful=True)
    assert (round(rate), round(useful)) == (11_006, 3_752)
    cell = arithmetic.hours(FULL, rate)
    assert cell == pytest.approx(16.54, abs=0.005)
    assert 18 * cell == pytest.approx(297.7, abs=0.05)
    assert arithmetic.hours(FULL, useful) == pytest.approx(48.5, abs=0.05)


def test_legacy_steps() -> None:
    assert (arithmetic.legacy_steps(5), arithmetic.legacy_steps(10)) == (14_065, 28_130)

"""J and F of masks: by hand, and against the definition written with a disc in place of distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from trackyard.errors import DataError
from trackyard.evaluate.scorers.masks import Masks, boundary_f, jf, outline, region_similarity


def square(top: int, left: int, side: int, shape: tuple[int, int] = (40, 60)) -> Masks:
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_overlap_over_union() -> None:
    assert region_similarity(square(0, 0, 10), square(0, 5, 10)) == pytest.approx(50 / 150)
    assert region_similarity(square(0, 0, 10), square(20, 20, 10)) == 0
    assert region_similarity(square(0, 0, 0), square(0, 0, 0)) == 1
    assert region_similarity(square(0, 0, 0), square(0, 0, 3)) == 0


def test_outlines_may_lie_a_little_apart() -> None:
    """0.8 % of the diagonal of 300 x 400 is 4 pixels."""
    true = square(100, 100, 80, (300, 400))
    assert boundary_f(square(104, 100, 80, (300, 400)), true) == 1
    assert 0.5 < boundary_f(square(105, 100, 80, (300, 400)), true) < 1
    assert boundary_f(square(200, 300, 80, (300, 400)), true) == 0


def test_without_an_outline() -> None:
    nothing = square(0, 0, 0)
    assert boundary_f(nothing, nothing) == 1
    assert boundary_f(nothing, square(3, 3, 5)) == boundary_f(square(3, 3, 5), nothing) == 0


def slow_outline(mask: Masks) -> Masks:
    drawn = np.zeros_like(mask)
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            near = [(min(y + dy, height - 1), min(x + dx, width - 1)) for dy, dx in ((0, 1), (1, 0), (1, 1))]
            drawn[y, x] = any(mask[place] != mask[y, x] for place in near)
    return drawn


def slow_f(predicted: Masks, true: Masks) -> float:
    reach = math.ceil(0.008 * math.hypot(*true.shape))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    guess, goal = slow_outline(predicted), slow_outline(true)
    if not guess.any() or not goal.any():
        return float(guess.any() == goal.any())
    disc = x**2 + y**2 <= reach**2
    precision = (guess & binary_dilation(goal, disc)).sum() / guess.sum()
    recall = (goal & binary_dilation(guess, disc)).sum() / goal.sum()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 200), st.sampled_from([0.02, 0.5, 0.95]))
def test_against_the_definition(seed: int, height: int, width: int, share: float) -> None:
    random = np.random.default_rng(seed)
    predicted, true = random.random((2, height, width)) < share
    assert (outline(true) == slow_outline(true)).all()
    assert boundary_f(predicted, true) == pytest.approx(slow_f(predicted, true), abs=1e-12)
    assert boundary_f(true, true) == region_similarity(true, true) == 1


def test_the_mean_over_frames() -> None:
    true = np.stack([square(5, 5, 10), square(5, 5, 10)])
    predicted = np.stack([square(5, 5, 10), square(25, 40, 10)])
    found = jf(predicted, true)
    assert (found.region, found.boundary, found.jf) == (0.5, 0.5, 0.5)
    assert jf(true, true).jf == 1
    assert jf(np.zeros_like(true), true).jf == 0
    with pytest.raises(DataError, match="0 frames"):
        jf(true[:0], true[:0])
    with pytest.raises(DataError, match="pixels are compared"):
        jf(predicted[:, :, 1:], true)
    with pytest.raises(DataError, match="uint8"):
        jf(predicted.astype(np.uint8), true)

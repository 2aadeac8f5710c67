"""Counts and masks made of pieces equal the rule of section 8 asked for every pair."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trackyard.feed.visibility import Visibility, may_attend

Pack = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def by_the_rule(segment: NDArray[np.int64], example: NDArray[np.int64], visual: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The formula of the spec as it is printed, for every pair."""
    order = np.arange(len(segment))
    mask = order[None, :] <= order[:, None]
    mask |= visual[:, None] & visual[None, :] & (example[:, None] == example[None, :])
    mask &= segment[:, None] <= segment[None, :]
    mask &= (example[:, None] >= 0) & (example[None, :] >= 0)
    np.fill_diagonal(mask, True)
    return mask


def lay(stretches: list[tuple[int, int, bool, int]]) -> Pack:
    """(row, segment inside it, visual, tokens) side by side; row -1 is padding."""
    sizes = [size for *_, size in stretches]
    row, inner, visual = (np.repeat(np.array(column), sizes) for column in list(zip(*stretches, strict=True))[:3])
    return np.where(row < 0, -1, 100_000 * row + inner), row, visual.astype(np.bool_)


rows = st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=5)
branches = st.lists(st.integers(1, 7), min_size=1, max_size=3)


@st.composite
def packs(draw: st.DrawFn) -> Pack:
    """Trees of text, pictures and frames; padding before or behind them, or none."""
    stretches = []
    for number in range(draw(st.integers(1, 4))):
        sizes = draw(branches)
        prefix = 10_000 if len(sizes) > 1 else 0
        stretches += [(number, prefix, visual, size) for size, visual in draw(rows)]
        stretches += [(number, branch, False, size) for branch, size in enumerate(sizes)]
    padding = [(-1, 0, False, draw(st.integers(1, 9)))]
    return lay(draw(st.sampled_from([stretches, padding + stretches, stretches + padding])))


anything = st.lists(
    st.tuples(st.integers(-1, 2), st.integers(0, 2), st.booleans(), st.integers(1, 5)), min_size=1, max_size=12
).map(lay)


@given(st.one_of(packs(), anything), st.integers(1, 20))
def test_masks_and_counts_are_those_of_the_rule(pack: Pack, block: int) -> None:
    wanted = by_the_rule(*pack)
    visibility = Visibility.of(*pack)
    assert visibility.levels.dtype == visibility.spans.dtype == np.int32
    assert (visibility.dense() == wanted).all()
    assert visibility.pairs().tolist() == [wanted.sum()]
    padded = np.pad(wanted, (0, -len(wanted) % block))
    tiles = padded.reshape(len(padded) // block, block, -1, block).sum(axis=(1, 3))
    assert (visibility.block_pairs(block) == tiles).all()


@given(st.one_of(packs(), anything))
def test_the_rule_on_two_integers_is_the_rule(pack: Pack) -> None:
    order = np.arange(len(pack[0]))
    level, span = Visibility.of(*pack).levels[0], Visibility.of(*pack).spans[0]
    q, k = order[:, None], order[None]
    assert (may_attend(q, k, level[q], level[k], span[q], span[k]) == by_the_rule(*pack)).all()


def test_packs_are_counted_one_by_one() -> None:
    text, picture = lay([(0, 0, False, 4), (-1, 0, False, 2)]), lay([(0, 0, True, 3), (0, 0, False, 3)])
    visibility = Visibility.of(*(np.stack(pair) for pair in zip(text, picture, strict=True)))
    assert visibility.pairs().tolist() == [4 * 5 // 2 + 2, 9 + 3 * 3 + 3 * 4 // 2]
    assert visibility.dense().shape == (2, 6, 6)
    assert visibility.dense().sum(axis=(1, 2)).tolist() == [12, 24]


def test_a_causal_sequence_has_half_the_pairs() -> None:
    assert Visibility.of(*lay([(0, 0, False, 2048)])).pairs().tolist() == [2048 * 2049 // 2]


@pytest.mark.parametrize("block", [36_864, 128])
def test_long_packs_are_counted_without_the_pairs(block: int) -> None:
    """384 frames with their times in one row of 36,864 tokens, and two branches."""
    frames = [(0, 10_000, visual, size) for _ in range(384) for visual, size in ((False, 5), (True, 83))]
    pack = lay([(0, 10_000, False, 8), *frames, (0, 0, False, 500), (0, 1, False, 500), (-1, 0, False, 2064)])
    visibility = Visibility.of(*pack)
    visual, prefix = 384 * 83, 8 + 384 * 88
    # Causal pairs, the later half of the visual block, what each branch sees of the prefix and of itself, padding.
    wanted = prefix * (prefix + 1) // 2 + 2 * (500 * prefix + 500 * 501 // 2) + 2064
    wanted += visual * (visual - 1) // 2
    tracemalloc.start()
    counted = int(visibility.block_pairs(block).sum())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counted == wanted
    assert peak < 0.1 * len(pack[0]) ** 2


def test_a_dense_mask_needs_no_second_one() -> None:
    """One long text, a picture, padding longer than what is written at a time."""
    pack = lay([(0, 0, False, 3000), (1, 0, True, 500), (1, 0, False, 600), (-1, 0, False, 700)])
    visibility = Visibility.of(*pack)
    tracemalloc.start()
    mask = visibility.dense()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * mask.nbytes
    assert (mask[0] == by_the_rule(*pack)).all()

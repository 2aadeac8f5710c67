from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.feed.styles import style_of
from trackyard.feed.tree import (
    EXAMPLE_STRIDE,
    NO_TARGET,
    PADDING_EXAMPLE,
    Stretch,
    TokenTree,
    allowed,
    blank_tree,
    grow_tree,
)
from trackyard.feed.visibility import Visibility

STYLE = style_of("vqa2")


def lay(*trees: TokenTree, padding: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments, examples and visual flags of the trees side by side."""
    segment = [EXAMPLE_STRIDE * e + tree.segment for e, tree in enumerate(trees)]
    example = [np.full(len(tree), e) for e, tree in enumerate(trees)]
    pad = np.full(padding, PADDING_EXAMPLE)
    visual = [tree.visual for tree in trees]
    return np.concatenate([*segment, pad]), np.concatenate([*example, pad]), np.concatenate([*visual, pad > 0])


def test_the_worked_example_of_section_8() -> None:
    prefix = [Stretch([1]), Stretch([2, 2], visual=True), Stretch([3])]
    first = grow_tree(prefix, [[Stretch([4]), Stretch([5], learned=True)]] * 2, STYLE, vocab_size=100)
    second = grow_tree([Stretch([1])], [[Stretch([9])]], STYLE, vocab_size=100)
    assert np.concatenate([first.position, second.position]).tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 0, 1]
    segment, example, visual = lay(first, second)
    assert segment.tolist() == [10000] * 4 + [0, 0, 1, 1, 100000, 100000]
    mask = allowed(segment, example, visual)
    keys = [np.flatnonzero(row).tolist() for row in mask]
    assert keys == [
        [0],
        [0, 1, 2],
        [0, 1, 2],
        [0, 1, 2, 3],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 6],
        [0, 1, 2, 3, 6, 7],
        [8],
        [8, 9],
    ]
    assert mask.sum() == 36
    assert Visibility.of(segment, example, visual).pairs().tolist() == [36]


def test_targets_are_shifted_inside_their_branch_and_weighed() -> None:
    prefix = [Stretch([1])]
    long = [Stretch([7, 8]), Stretch([10, 11, 12, 13], learned=True)]
    short = [Stretch([7]), Stretch([20], learned=True), Stretch([6]), Stretch([21, 22], learned=True)]
    tree = grow_tree(prefix, [long, short], STYLE, vocab_size=100)
    no = NO_TARGET
    assert tree.targets.tolist() == [no, no, 10, 11, 12, 13, no, 20, no, 21, 22, no]
    assert tree.labels == 7
    assert tree.weights.sum() == pytest.approx(2 / 2 / 2**0.5 * 4 + 2 / 3**0.5 / 2**0.5 * 3, rel=1e-6)
    assert ((tree.weights > 0) == (tree.targets != no)).all()
    fixed = grow_tree(prefix, [long, short], style_of("pointing"), vocab_size=100)
    assert set(fixed.weights.tolist()) == {0.0, np.float32(0.2)}


def test_a_single_branch_is_one_sequence() -> None:
    tree = grow_tree([Stretch([1, 2])], [[Stretch([3]), Stretch([4], learned=True)]], STYLE, vocab_size=100)
    assert tree.segment.tolist() == [0, 0, 0, 0]
    assert tree.position.tolist() == [0, 1, 2, 3]
    assert tree.targets.tolist() == [NO_TARGET, NO_TARGET, 4, NO_TARGET]


def test_an_added_token_is_never_a_target() -> None:
    with pytest.raises(DataError, match="head has 100 rows"):
        grow_tree([Stretch([1])], [[Stretch([3]), Stretch([100], learned=True)]], STYLE, vocab_size=100)


trees = st.builds(
    lambda prefix, branches: grow_tree(
        [Stretch([1]), Stretch([2] * prefix, visual=True)],
        [[Stretch([3]), Stretch([4] * size, learned=True)] for size in branches],
        STYLE,
        vocab_size=100,
    ),
    st.integers(0, 5),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
)


@given(st.lists(trees, min_size=1, max_size=4), st.integers(0, 4))
def test_a_packed_mask_isolates_rows(rows: list[TokenTree], padding: int) -> None:
    segment, example, visual = lay(*rows, padding=padding)
    mask = allowed(segment, example, visual)
    assert not (mask & (example[:, None] != example[None, :])).any()
    start = 0
    for tree in rows:
        stop = start + len(tree)
        alone = allowed(tree.segment, np.zeros(len(tree), dtype=np.int64), tree.visual)
        assert (mask[start:stop, start:stop] == alone).all()
        start = stop
    assert (mask[start:, start:] == np.eye(padding, dtype=bool)).all()
    assert mask.any(axis=1).all(), "a query without keys gives NaN"


@given(trees)
def test_branches_see_the_prefix_and_not_each_other(tree: TokenTree) -> None:
    mask = allowed(tree.segment, np.zeros(len(tree), dtype=np.int64), tree.visual)
    for q in range(len(tree)):
        path = (tree.segment >= 10_000) | (tree.segment == tree.segment[q])
        assert mask[q].sum() == (path & (tree.position <= tree.position[q])).sum() or tree.visual[q]
        assert not (mask[q] & ~path).any()


def test_a_mask_without_the_example_rule_would_join_rows() -> None:
    """Negative control: one block of visual tokens across packed rows, the stock behaviour of section 18."""
    tree = grow_tree([Stretch([1]), Stretch([2], visual=True)], [[Stretch([3])]], STYLE, vocab_size=9)
    segment, example, visual = lay(tree, tree)
    stock = allowed(segment * 0, example * 0, visual)
    assert (stock & (example[:, None] != example[None, :])).any()


def test_a_blank_row_teaches_nothing() -> None:
    tree = blank_tree(7, 5)
    assert len(tree) == 7
    assert tree.labels == 0
    assert tree.weights.sum() == 0
    assert not tree.visual.any()

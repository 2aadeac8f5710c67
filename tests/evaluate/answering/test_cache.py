"""Rows of a cache: what is kept stays bit for bit, whatever is joined and cut around it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.evaluate.answering import cache

LAYERS, HEADS, WIDTH = 3, 2, 4
SKIPPED = 1
"""A block in the middle that wrote nothing."""


def filled(rows: int, tokens: int, seed: int) -> Any:
    source = torch.Generator().manual_seed(seed)
    made = cache.new_cache()
    for layer in range(LAYERS):
        if layer != SKIPPED:
            states = torch.randn((2, rows, HEADS, tokens, WIDTH), generator=source)
            made.update(states[0], states[1], layer)
    return made


def rows_of(of: Any, layer: int) -> list[torch.Tensor]:
    """Keys beside values, one tensor [H, T, 2 E] for each row."""
    return list(torch.cat([of.layers[layer].keys, of.layers[layer].values], dim=-1))


@settings(max_examples=40)
@given(
    first=st.tuples(st.integers(1, 4), st.integers(1, 6)),
    second=st.tuples(st.integers(1, 4), st.integers(1, 6)),
    data=st.data(),
)
def test_rows_survive_joining_and_keeping(first: tuple[int, int], second: tuple[int, int], data: Any) -> None:
    one, other = filled(*first, seed=1), filled(*second, seed=2)
    wanted = {layer: rows_of(one, layer) + rows_of(other, layer) for layer in (0, 2)}
    cache.join(one, other)
    assert cache.tokens_in(one) == max(first[1], second[1])
    count = first[0] + second[0]
    kept = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True))
    longest = max(wanted[0][row].shape[1] for row in kept)
    cache.keep(one, torch.tensor(kept), cache.tokens_in(one) - longest)
    assert cache.tokens_in(one) == longest
    for layer in (0, 2):
        for row, found in zip(kept, rows_of(one, layer), strict=True):
            own = wanted[layer][row]
            assert torch.equal(found[:, longest - own.shape[1] :], own)
    assert not one.layers[SKIPPED].is_initialized


def test_caches_of_different_blocks_are_not_joined() -> None:
    one, other = filled(1, 2, seed=1), filled(1, 2, seed=2)
    other.update(torch.zeros(1, HEADS, 2, WIDTH), torch.zeros(1, HEADS, 2, WIDTH), SKIPPED)
    with pytest.raises(ValueError, match="keys and values of a block"):
        cache.join(one, other)


def test_an_empty_cache_has_no_tokens() -> None:
    assert cache.tokens_in(cache.new_cache()) == 0

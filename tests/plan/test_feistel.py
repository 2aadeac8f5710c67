"""The compiled permutation is the one of its definition, written out with Python's whole numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.plan.feistel import mix, walk

WORD = 2**64 - 1


def _mixed(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def _image(value: int, n: int, key: int) -> int:
    bits = max(2, (n - 1).bit_length())
    widths = (bits // 2, bits - bits // 2)
    while True:
        halves = [value & ((1 << widths[0]) - 1), value >> widths[0]]
        state = key
        for turn in range(8):
            state = (state + 0x9E3779B97F4A7C15) & WORD
            halves[turn % 2] ^= _mixed(halves[1 - turn % 2] ^ state) & ((1 << widths[turn % 2]) - 1)
        value = halves[0] | halves[1] << widths[0]
        if value < n:
            return value


@given(value=st.integers(0, WORD))
def test_mix(value: int) -> None:
    assert mix(value) == _mixed(value)


@settings(max_examples=50)
@given(
    points=st.lists(
        st.tuples(st.integers(1, 2**40), st.integers(0, WORD), st.floats(0, 1, exclude_max=True)), max_size=20
    )
)
def test_walk(points: list[tuple[int, int, float]]) -> None:
    """Sizes and keys change from one number to the next."""
    index = np.array([int(share * n) for n, _, share in points], dtype=np.int64)
    out = np.empty(len(points), dtype=np.int64)
    n, key = ([point[k] for point in points] for k in (0, 1))
    walk(index, np.array(n, dtype=np.int64), np.array(key, dtype=np.uint64), out)
    assert out.tolist() == [_image(*point) for point in zip(index.tolist(), n, key, strict=True)]

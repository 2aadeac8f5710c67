"""The permutation's inner loop, compiled: importing this module imports numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackyard.plan.compiled import compiled

_ONE = np.uint64(1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_DOUBLE_ROUNDS = 4


def _mix(value: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64: every input bit reaches every output bit."""
    value = (value ^ (value >> _SHIFT_1)) * _MIX_1
    value = (value ^ (value >> _SHIFT_2)) * _MIX_2
    return value ^ (value >> _SHIFT_3)


mix = compiled("uint64(uint64)", _mix)


def _walk(index: NDArray[np.int64], n: NDArray[np.int64], key: NDArray[np.uint64], out: NDArray[np.int64]) -> None:
    """Write to `out` the image of every index under the permutation of 0..n-1 that its key selects; all [k].

    The halves of a number differ by at most one bit and swap roles every round.
    """
    size = np.uint64(0)
    low_bits = low_mask = high_mask = size
    for k in range(len(index)):
        if np.uint64(n[k]) != size:
            size = np.uint64(n[k])
            bits = 2
            while _ONE << np.uint64(bits) < size:
                bits += 1
            low_bits = np.uint64(bits // 2)
            low_mask = (_ONE << low_bits) - _ONE
            high_mask = (_ONE << np.uint64(bits - bits // 2)) - _ONE
        value = np.uint64(index[k])
        while True:  # walking the cycle of a bijection from a point below n always comes back below n
            low, high = value & low_mask, value >> low_bits
            state = key[k]
            for _ in range(_DOUBLE_ROUNDS):
                state += _GOLDEN
                low ^= mix(high ^ state) & low_mask
                state += _GOLDEN
                high ^= mix(low ^ state) & high_mask
            value = low | (high << low_bits)
            if value < size:
                break
        out[k] = value


walk = compiled("void(int64[::1], int64[::1], uint64[::1], int64[::1])", _walk)

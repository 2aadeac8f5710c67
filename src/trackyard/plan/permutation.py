"""A keyed permutation of 0..n-1 that is computed, not stored: any position in constant memory, in any order.

A Feistel network on the smallest power of two that holds n, repeated until the value is below n (cycle walking).
Source: molmo2 spec section 4.5; Black & Rogaway, Ciphers with Arbitrary Finite Domains, 2002.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_json

ROUNDS = 8
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

UInt64s = NDArray[np.uint64]


def permutation_key(seed: int, dataset: str, epoch: int) -> int:
    """64 bits that select the order of one epoch of one dataset."""
    return int(digest_json([seed, dataset, epoch])[:16], 16)


def permute(index: NDArray[np.int64], n: int, key: int | UInt64s) -> NDArray[np.int64]:
    """Images of `index` (values in 0..n-1, any shape [k]) under the permutation of 0..n-1 that `key` selects.

    key: one for all, or one per index [k]. For a fixed key the map is a bijection for every n >= 1.
    """
    bits = max(2, (n - 1).bit_length())
    keys = np.broadcast_to(np.asarray(key, dtype=np.uint64), index.shape)
    values = _feistel(index.astype(np.uint64), keys, bits)
    outside = np.flatnonzero(values >= n)
    while outside.size:
        # Walking the cycle of a bijection from a point below n always comes back below n.
        values[outside] = _feistel(values[outside], keys[outside], bits)
        outside = outside[values[outside] >= n]
    return values.astype(np.int64)


def _feistel(values: UInt64s, keys: UInt64s, bits: int) -> UInt64s:
    """One pass over a domain of 2**bits; the halves differ by one bit when `bits` is odd and swap roles every round."""
    low_bits = bits // 2
    widths = (np.uint64(low_bits), np.uint64(bits - low_bits))
    masks = tuple((np.uint64(1) << width) - np.uint64(1) for width in widths)
    halves = [values & masks[0], values >> widths[0]]
    state = keys
    for turn in range(ROUNDS):
        side = turn % 2
        state = state + _GOLDEN
        halves[side] = halves[side] ^ (_mix(halves[1 - side] ^ state) & masks[side])
    return halves[0] | (halves[1] << widths[0])


def _mix(values: UInt64s) -> UInt64s:
    """The finaliser of SplitMix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))

"""A keyed permutation of 0..n-1 that is computed, not stored: any position in constant memory, in any order.

A Feistel network on the smallest power of two that holds n, repeated until the value is below n (cycle walking).
Source: molmo2 spec section 4.5; Black & Rogaway, Ciphers with Arbitrary Finite Domains, 2002.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_json

KEYS = 1024
"""Keys remembered: more than there are datasets in a mixture, each of which stays in one epoch for a while."""


@lru_cache(maxsize=KEYS)
def permutation_key(seed: int, dataset: str, epoch: int) -> int:
    """64 bits that select the order of one epoch of one dataset."""
    return int(digest_json([seed, dataset, epoch])[:16], 16)


def permute(index: NDArray[np.int64], n: int | NDArray[np.int64], key: int | NDArray[np.uint64]) -> NDArray[np.int64]:
    """Images of `index` (values in 0..n-1, shape [k]) under the permutation of 0..n-1 that `key` selects.

    n, key: one for all, or one per index [k], so that draws from many datasets are permuted in one call.
    For a fixed n and key the map is a bijection for every n >= 1.
    """
    from trackyard.plan.feistel import walk

    out = np.empty(len(index), dtype=np.int64)
    sizes, keys = np.empty(len(index), dtype=np.int64), np.empty(len(index), dtype=np.uint64)
    sizes[:], keys[:] = n, np.asarray(key, dtype=np.uint64)
    walk(index.astype(np.int64), sizes, keys, out)
    return out

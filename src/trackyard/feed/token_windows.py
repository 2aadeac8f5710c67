"""Shuffled windows of a token stream by number: no state, so a resume is a start at another step.

Windows hold length + 1 tokens and begin every `length`: inputs w[:-1], targets w[1:], so every token is predicted once;
a tail that fills no window is left out. Source: pile-ffn spec section 5, design section 1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trackyard.plan.permutation import permutation_key, permute
from trackyard.snapshot.token_shards import TokenShards

AT_ONCE = 8192
"""Places of the order that are computed together: one by one, the order would cost more than the tokens."""


class TokenWindows:
    """Batches of windows; every epoch holds each window once, in an order of its own."""

    def __init__(self, shards: TokenShards, *, length: int, batch: int, seed: int) -> None:
        self.shards, self.length, self.batch_size, self.seed = shards, length, batch, seed
        self.windows = (shards.tokens - 1) // length
        self.left_out = shards.tokens - 1 - self.windows * length
        """Tokens at the end that are predicted by no window."""
        self._places = lru_cache(maxsize=2)(self._order)

    def numbers(self, step: int) -> NDArray[np.int64]:
        """Windows of a step, int64 [batch]. Epochs follow one another without a gap; a step may lie in two."""
        place = step * self.batch_size
        found: list[NDArray[np.int64]] = []
        while place < (step + 1) * self.batch_size:
            epoch, inside = divmod(place, self.windows)
            group, at = divmod(inside, AT_ONCE)
            part = self._places(epoch, group)[at : at + (step + 1) * self.batch_size - place]
            found.append(part)
            place += part.size
        return found[0] if len(found) == 1 else np.concatenate(found)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Tokens of a step, int64 [batch, length + 1]. Raises as `TokenShards.read`."""
        return self.shards.batch((self.numbers(step) * self.length).tolist(), self.length + 1)

    def _order(self, epoch: int, group: int) -> NDArray[np.int64]:
        places = np.arange(group * AT_ONCE, min((group + 1) * AT_ONCE, self.windows), dtype=np.int64)
        return permute(places, self.windows, permutation_key(self.seed, self.shards.manifest.dataset, epoch))

"""Millions of digests in 16 bytes each: sorted arrays of numpy instead of Python objects of 90 bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trackyard.acquire.images.pinned_list import KEY_BYTES

Keys = NDArray[np.bytes_]
"""Keys of KEY_BYTES bytes each; numpy pads with zeros, so keys that end in them compare as they should."""


def keys_of(digests: Sequence[bytes]) -> Keys:
    """The first KEY_BYTES bytes of each digest, in their order."""
    return np.frombuffer(b"".join(digest[:KEY_BYTES] for digest in digests), dtype=f"S{KEY_BYTES}")


def positions(ordered: Keys, wanted: Keys) -> NDArray[np.int64]:
    """Where each wanted key stands in `ordered`, -1 where it does not."""
    if not len(ordered):
        return np.full(len(wanted), -1, dtype=np.int64)
    found = np.searchsorted(ordered, wanted)
    found[found == len(ordered)] = 0
    return np.where(ordered[found] == wanted, found, -1).astype(np.int64)


class DigestSet:
    """A set of digests that is asked and grows in batches."""

    def __init__(self) -> None:
        self._ordered = keys_of([])

    def __len__(self) -> int:
        return len(self._ordered)

    def holds(self, digests: Sequence[bytes]) -> list[bool]:
        """Whether each is in the set."""
        return [place >= 0 for place in positions(self._ordered, keys_of(digests)).tolist()]

    def add(self, digests: Sequence[bytes]) -> None:
        """Add digests; what is in the set stays once."""
        fresh = np.unique(keys_of(digests))
        fresh = fresh[positions(self._ordered, fresh) < 0]
        self._ordered = np.insert(self._ordered, np.searchsorted(self._ordered, fresh), fresh)

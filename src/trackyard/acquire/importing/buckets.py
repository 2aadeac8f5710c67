"""Which part of a grouped import a record belongs to: addresses in the order in which they first appear.

Images were fetched in that order, so a part reads them one after another; a part by digest would read them at random.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.acquire.importing.records import listed
from trackyard.digest import digest_bytes

Keys = NDArray[np.uint64]


def address_keys(paths: Iterable[Path], field: str) -> Keys:
    """One number per record of the files, in order: 64 bits that stand for its address."""
    found = (
        address_key(value) for path in paths for value in listed(path, field, strict=False) if isinstance(value, str)
    )
    return np.fromiter(found, dtype=np.uint64)


def address_key(address: str) -> int:
    """64 bits that stand for an address."""
    return int(digest_bytes(address.strip().encode(errors="surrogatepass"))[:16], 16)


class Buckets:
    """`count` parts with equally many addresses. Two addresses of one key share a part, which changes no row."""

    def __init__(self, keys: Keys, count: int) -> None:
        self._known, first = np.unique(keys, return_index=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        self._part = rank * count // max(len(first), 1)

    def of(self, address: Any) -> int:
        """Part of an address; what is none goes to the first, where it is counted."""
        if not isinstance(address, str):
            return 0
        place = int(np.searchsorted(self._known, np.uint64(address_key(address))))
        if place == len(self._known) or int(self._known[place]) != address_key(address):
            return 0
        return int(self._part[place])

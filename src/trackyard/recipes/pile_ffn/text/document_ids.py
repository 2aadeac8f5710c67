"""Names of documents by their text, sets of many of them, and splits by hash. Source: pile-ffn spec section 5."""

from __future__ import annotations

import hashlib
from typing import Literal

ID_BYTES = 16
_EMPTY = bytes(ID_BYTES)
_FIRST_SLOTS = 1024

Pool = Literal["val", "test"]


def document_id(text: bytes) -> bytes:
    """The first 16 bytes of SHA-256 of the text in UTF-8; written down as their 32 hex characters."""
    return hashlib.sha256(text).digest()[:ID_BYTES]


def hashed_split(name: bytes) -> Pool | None:
    """The split of a document of a source without held-out files: 0.5 % val, 0.5 % test, None for training."""
    share = int.from_bytes(name[:8], "big") % 1000
    return "val" if share < 5 else "test" if share < 10 else None


def halved(name: bytes) -> Pool:
    """The half that a document of the one held-out split belongs to, where a source has no test split."""
    return "test" if int.from_bytes(name[:8], "big") % 2 else "val"


class DocumentIds:
    """A set of ids in 24 to 48 bytes each, less than half of what a `set` takes: corpora have tens of millions.

    Open addressing in one block of memory. Ids are digests, so their first bytes say where to begin to look.
    """

    def __init__(self) -> None:
        self._slots = bytearray(_FIRST_SLOTS * ID_BYTES)
        self._mask = _FIRST_SLOTS - 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: bytes) -> bool:
        at = self._place(name)
        return self._slots[at : at + ID_BYTES] == name

    def add(self, name: bytes) -> bool:
        """True if it was not there. ValueError for what is no id: another length, or all zeros, which marks a gap."""
        if len(name) != ID_BYTES or name == _EMPTY:
            raise ValueError(f"{name.hex()!r} is not the id of a document")
        at = self._place(name)
        if self._slots[at : at + ID_BYTES] == name:
            return False
        self._slots[at : at + ID_BYTES] = name
        self._count += 1
        if 3 * self._count > 2 * (self._mask + 1):
            self._grow()
        return True

    def _place(self, name: bytes) -> int:
        """Where in the block the id is, or the gap where it would go."""
        slot = int.from_bytes(name[:8], "little") & self._mask
        while True:
            at = slot * ID_BYTES
            found = self._slots[at : at + ID_BYTES]
            if found in (name, _EMPTY):
                return at
            slot = (slot + 1) & self._mask

    def _grow(self) -> None:
        old = self._slots
        self._slots = bytearray(2 * len(old))
        self._mask = 2 * self._mask + 1
        for start in range(0, len(old), ID_BYTES):
            name = bytes(old[start : start + ID_BYTES])
            if name != _EMPTY:
                at = self._place(name)
                self._slots[at : at + ID_BYTES] = name

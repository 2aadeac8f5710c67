"""What an archive unpacks to: a fresh folder, the limits that all its members share, and one form of refusal.

Source: reliability spec F18 and section 6.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from typing import NoReturn

from pydantic import Field

from trackyard.acquire.archives.members import Members, RefusedName
from trackyard.errors import DataError
from trackyard.parameters import Parameters

Progress = Callable[[int, int], None]
"""Takes (files, bytes) unpacked so far."""

CHUNK = 2**20
"""Bytes read, written and held at once."""

RATIO_FLOOR_BYTES = 64 * 2**20
"""Unpacked bytes up to which the ratio is not looked at: that much harms nobody, and small texts compress well."""

# What damaged input raises in tarfile, zipfile and the decompressors. RecursionError: chains of tar headers.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    struct.error,
    zlib.error,
    LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


class UnpackLimits(Parameters):
    """What an archive may unpack to. max_ratio: unpacked to packed bytes, looked at above `RATIO_FLOOR_BYTES`; texts
    reach 20, one deflated run of zeros 1,032."""

    max_entries: int = Field(default=1_000_000, ge=1)
    max_bytes: int = Field(default=2 * 10**12, ge=1)
    max_ratio: float = Field(default=200.0, gt=0)


class Tree:
    """The fresh folder, what was written to it, and the limits that all members share."""

    def __init__(self, archive: Path, root: Path, limits: UnpackLimits, progress: Progress | None) -> None:
        self.files = self.bytes = 0
        self._archive, self._root, self._limits, self._progress = archive, root, limits, progress
        self._members = Members(max_entries=limits.max_entries)
        self._made: set[str] = set()
        self._spent = 0
        self._packed = archive.stat().st_size

    @property
    def max_entries(self) -> int:
        return self._limits.max_entries

    def refuse(self, member: str | None, problem: str, why: str) -> NoReturn:
        """Raise the DataError of a member, or of the archive as a whole."""
        at = str(self._archive) if member is None else f"{self._archive}, member {member!r}"
        raise DataError(
            what=f"{at}: {problem}",
            why=f"{why}; nothing of the archive was unpacked",
            fix=f"compare {self._archive.name} with what its publisher states, and bring it again",
        )

    @contextmanager
    def reading(self, member: str | None) -> Iterator[None]:
        """A block that only reads the archive: what goes wrong in it is damage. Writing is kept out of it."""
        try:
            yield
        except RefusedName as error:
            self.refuse(member, str(error), "its members would not lie where they belong, or hide one another")
        except _DAMAGE as error:
            self.refuse(
                member, f"damaged, cut or no archive: {error or type(error).__name__}", "its contents are unknown"
            )

    def spend(self, size: int, member: str | None) -> None:
        """Count bytes that came out of the decompressor, before they are kept anywhere."""
        self._spent += size
        limits = self._limits
        if self._spent > limits.max_bytes:
            self.refuse(member, f"more than {limits.max_bytes:,} bytes come out", "it could fill the disk")
        if self._spent > max(RATIO_FLOOR_BYTES, limits.max_ratio * self._packed):
            self.refuse(
                member,
                f"{self._packed:,} bytes unpack to more than {limits.max_ratio:g} times as many",
                "data do not compress that well, bombs do",
            )

    def folder(self, name: str) -> None:
        """Make one folder, and those that its path implies."""
        with self.reading(name):
            path = self._members.claim(name, folder=True)
        self._make(path)

    def file(self, name: str, size: int, read: Callable[[int], bytes]) -> None:
        """Write one file of exactly `size` bytes from `read`, which answers b"" at the end of the member."""
        with self.reading(name):
            path = self._members.claim(name, folder=False)
        self._make(path.rpartition("/")[0])
        with open(self._root / path, "xb") as out:
            left = size
            while left:
                with self.reading(name):
                    data = read(min(CHUNK, left))
                    if not data:
                        raise EOFError(f"{left:,} of {size:,} bytes are missing")
                self.spend(len(data), name)
                out.write(data)
                left -= len(data)
        self.files += 1
        self.bytes += size
        if self._progress is not None:
            self._progress(self.files, self.bytes)

    def _make(self, path: str) -> None:
        if path not in self._made:
            (self._root / path).mkdir(parents=True, exist_ok=True)
            self._made.add(path)

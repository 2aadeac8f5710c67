"""A file that is still arriving: its bytes so far, where they came from, what is expected, and how it gets its name.

`.partial-<name>` holds the bytes and `.partial-<name>.json` the validator they belong to, so that the next process goes
on where a killed one stopped. Bytes go to the kernel as they come: kill -9 loses none that were counted.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from trackyard.acquire.places import room
from trackyard.durable import TEMPORARY, fsync_directory
from trackyard.errors import DataError, EnvironmentLacking
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-download/1"
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What the bytes of a partial file belong to. address: digest of the URL without its query, which may be a
    signature that changes. bytes: of the whole file, None where the server does not say."""

    address: str
    etag: str | None
    last_modified: str | None
    bytes: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range sends. A weak ETag does not promise equal bytes (RFC 9110 section 13.1.5)."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the whole file is to be, where that is known. name: of the source, for messages; without secrets."""

    name: str
    bytes: int | None
    sha256: str | None


class Partial:
    """The growing file next to `target`. One owner at a time: the caller holds the lock."""

    def __init__(self, target: Path, address: str, expected: Expected) -> None:
        """Take up what an earlier process left of the same address, if it can be continued; EnvironmentLacking if the
        file cannot be opened."""
        self.expected = expected
        self.address = address
        self.target = target
        self.path = target.with_name(f"{TEMPORARY}{target.name}")
        self.sidecar = target.with_name(f"{TEMPORARY}{target.name}.json")
        self.origin: Origin | None = self._left_by_another()
        self.offset = 0
        self.resumed_from = 0
        self._hash = hashlib.sha256()
        try:
            # Links are not followed: this may be a folder that others write to.
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._lacking(error) from error
        if self.origin is None:
            os.ftruncate(self._handle, 0)
            return
        while block := os.read(self._handle, _BLOCK):
            self._hash.update(block)
            self.offset += len(block)
        self.resumed_from = self.offset

    def _left_by_another(self) -> Origin | None:
        if not self.path.is_file() or not self.sidecar.is_file():
            return None
        try:
            body = read_document(self.sidecar, SCHEMA, fix=f"rm {self.sidecar}")
            origin = Origin(**{name: value for name, value in body.items() if name != "schema"})
        except (DataError, TypeError):
            # Written by another version, or damaged: the bytes can be had again, and nothing proves what they are.
            return None
        return origin if origin.address == self.address and origin.validator is not None else None

    @property
    def sha256(self) -> str:
        """Of the bytes so far."""
        return self._hash.hexdigest()

    @property
    def whole(self) -> bool:
        """True if the process that left it had only the name to give."""
        return self.origin is not None and self.offset == self.origin.bytes

    def restart(self, origin: Origin | None) -> None:
        """Drop all bytes; those to come belong to `origin`."""
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.offset = self.resumed_from = 0
        self.origin = origin
        try:
            if origin is None:
                self.sidecar.unlink(missing_ok=True)
            else:
                write_document(self.sidecar, SCHEMA, asdict(origin))
        except OSError as error:
            raise self._lacking(error) from error

    def write(self, data: bytes) -> None:
        """Append; EnvironmentLacking if the disk is full. What was written before stays and can be continued."""
        view = memoryview(data)
        while view:
            try:
                count = os.write(self._handle, view)
            except OSError as error:
                raise self._lacking(error) from error
            self._hash.update(view[:count])
            self.offset += count
            view = view[count:]

    def need(self, total: int | None) -> None:
        """EnvironmentLacking if what is missing of `total` bytes does not fit on the disk."""
        missing = 0 if total is None else total - self.offset
        free = room(self.path.parent).free_bytes
        if missing > free:
            raise EnvironmentLacking(
                what=f"{self.target} needs {missing / 1e9:,.3f} GB more, {free / 1e9:,.3f} GB are free",
                why="a full disk stops every program that writes to it",
                fix=f"make room in {self.path.parent}, or name another place, and run the same command again",
            )

    def check_size(self, size: int) -> None:
        """DataError if a file of `size` bytes is not the expected one; what had arrived is removed then."""
        if self.expected.bytes not in (None, size):
            self._discard()
            raise DataError(
                what=f"{self.expected.name} has {size:,} bytes, expected {self.expected.bytes:,}",
                why="it is another file than the one that is known here; what had arrived was removed",
                fix="check address and size in the catalogue entry; if they are right, run the same command again",
            )

    def finish(self) -> None:
        """Give the whole file its name, durably; DataError if it is not the expected one, which is removed then."""
        self.check_size(self.offset)
        if self.expected.sha256 is not None and self.sha256 != self.expected.sha256.lower():
            self._discard()
            raise DataError(
                what=f"{self.expected.name} has sha256 {self.sha256}, expected {self.expected.sha256.lower()}",
                why="its bytes are not those that were published; they were removed",
                fix="run the same command again, it starts at the first byte; if the digest is the same again, the "
                "file was changed at its source: check the catalogue entry",
            )
        try:
            os.fsync(self._handle)
            os.replace(self.path, self.target)
            self.sidecar.unlink(missing_ok=True)
            fsync_directory(self.target.parent)
        except OSError as error:
            raise self._lacking(error) from error

    def _discard(self) -> None:
        self.sidecar.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._handle)

    def _lacking(self, error: OSError) -> EnvironmentLacking:
        return EnvironmentLacking(
            what=f"{self.path} cannot be written: {error.strerror or error}",
            why="the file is not complete without what is missing",
            fix=f"make room or permissions in {self.path.parent}, then run the same command again: it goes on",
        )

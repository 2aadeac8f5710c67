"""Files of records, each appended to by one process: what a kill leaves of them is found and left out.

Source: nine-datasets spec section 6.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from trackyard.durable import fsync_directory
from trackyard.errors import ConfigError, EnvironmentLacking

PREFIX, SUFFIX = "part-", ".jsonl"
SYNC_EVERY_S = 5.0
"""What a power cut may take is what was appended since: a kill takes what was not yet flushed, and no more."""
HELD_BYTES = 1 << 20
"""Bytes kept in memory before they are appended on their own."""


class PartWriter:
    """Appends lines to a file of its own. Not for several threads, and not across a fork.

    label: of the process, as `2-of-3`, for people. The file is made with the first line, so that a process that finds
    nothing to do leaves nothing. ConfigError for a label that is no part of a file name.
    """

    def __init__(self, folder: Path, label: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not all(letter.isalnum() or letter in "-_" for letter in label):
            raise ConfigError(
                what=f"records of a process called {label!r}",
                why="its name becomes part of a file name",
                fix="use letters, digits, - and _",
            )
        # Two processes never share a file: a torn line is then always the last one of its file.
        name = "-".join(part for part in (label, secrets.token_hex(6)) if part)
        self.path = folder / f"{PREFIX}{name}{SUFFIX}"
        self._clock = clock
        self._handle: int | None = None
        self._pending = bytearray()
        self._synced_at = clock()

    def append(self, line: bytes) -> None:
        """Add a line, given without its end. It is on disk at the latest with `flush`."""
        self._pending += line + b"\n"
        if len(self._pending) >= HELD_BYTES or self._clock() - self._synced_at >= SYNC_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Hand everything so far to the system, which a kill of this process cannot undo; fsync every few seconds.

        EnvironmentLacking if the disk refuses it. Nothing is lost by then: a next call goes on where it ended.
        """
        try:
            if self._pending:
                self._drain()
            if self._clock() - self._synced_at >= SYNC_EVERY_S:
                self._sync()
        except OSError as error:
            raise self._refusal(error) from error

    def close(self) -> None:
        """Flush, make durable, and end."""
        try:
            self.flush()
            self._sync()
        except OSError as error:
            raise self._refusal(error) from error
        finally:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _drain(self) -> None:
        if self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._handle = os.open(self.path, flags, 0o644)
            fsync_directory(self.path.parent)
        while self._pending:
            # A full disk may cut a write short: the rest follows exactly where it ended.
            written = os.write(self._handle, self._pending)
            del self._pending[:written]

    def _sync(self) -> None:
        if self._handle is not None:
            os.fsync(self._handle)
        self._synced_at = self._clock()

    def _refusal(self, error: OSError) -> EnvironmentLacking:
        return EnvironmentLacking(
            what=f"{self.path}: {error.strerror} ({len(self._pending)} bytes not written)",
            why="answers that are not recorded have to be made again",
            fix=f"free space on the file system of {self.path.parent} and run the same command again",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """lines: those that have an end. torn: whether bytes without one follow: a kill, or a write in progress."""

    path: Path
    lines: list[bytes]
    torn: bool


def read_part(path: Path) -> Part:
    """A file of lines, also while it is being written. OSError if it cannot be read."""
    *lines, rest = path.read_bytes().split(b"\n")
    return Part(path=path, lines=lines, torn=bool(rest))


def read_parts(folder: Path) -> Iterator[Part]:
    """Every part below `folder`, by name."""
    return (read_part(path) for path in sorted(folder.glob(f"{PREFIX}*{SUFFIX}")))

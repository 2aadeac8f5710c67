"""What was proved before, by file: the digest that was right, and the size, times and inode that the file had then.

Kept outside of the directory that it is about, so that neither DVC nor a copy of the directory takes it along:
`$XDG_CACHE_HOME/trackyard/proved`, by default `~/.cache/trackyard/proved`. Source: performance spec section 9.4.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackyard.digest import digest_bytes, short
from trackyard.errors import DataError
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-proved/1"
TURN_SCHEMA = "trackyard-turn/1"
SAMPLE = 30
"""A fast verification reads one file in so many again, others every time: after so many it has read them all."""
RACY_NS = 2_000_000_000
"""A file that changed within so many nanoseconds of being read is not remembered: a later change within the same tick
of the file system's clock (up to 2 s on some) would look like none."""


def stamp(status: os.stat_result) -> str:
    """Size, time of change, inode and time of the inode's change. The last cannot be set back by a program."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {status.st_ctime_ns}"


def is_racy(status: os.stat_result, read_ns: int) -> bool:
    """Whether the file changed about when it was read. A clock that jumped makes no file racy for long."""
    return abs(read_ns - status.st_ctime_ns) < RACY_NS


@dataclass(frozen=True, kw_only=True, slots=True)
class StatCache:
    """known: path -> stamp and blake3, separated by a space. turn: number of fast verifications so far."""

    turn: int = 0
    known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> StatCache:
        """What is remembered in `path`. Where that is absent or damaged, it is nothing, and everything is hashed."""
        known, turn = _value(path, SCHEMA, "known"), _value(_turn_path(path), TURN_SCHEMA, "turn")
        return cls(turn=turn if isinstance(turn, int) else 0, known=known if isinstance(known, dict) else {})

    def sampled(self, number: int) -> bool:
        """Whether file `number` is read again in this turn, however unchanged it looks."""
        return number % SAMPLE == self.turn % SAMPLE

    def remember(self, path: Path, directory: Path, known: Mapping[str, str], *, next_turn: bool) -> str | None:
        """Write what is known now. Returns why that failed, None where it did not: a proof stands without it."""
        try:
            if known != self.known:
                write_document(path, SCHEMA, {"directory": str(directory), "known": dict(known)})
            if next_turn:
                # In a file of its own: in most turns nothing else changes, and that file may be large.
                write_document(_turn_path(path), TURN_SCHEMA, {"turn": self.turn + 1})
        except (OSError, UnicodeEncodeError) as error:
            return f"{path} could not be written ({error}), so the next fast verification reads these files again"
        return None


def _value(path: Path, schema: str, key: str) -> Any:
    try:
        return read_document(path, schema, fix="verify again, which writes it anew").get(key)
    except (DataError, OSError):
        return None


def _turn_path(path: Path) -> Path:
    return path.with_suffix(".turn.json")


def place_of(directory: Path) -> Path:
    """Where the cache of a directory lies, by its real path."""
    real = os.path.realpath(directory)
    # Unlike Path.home, this raises nothing where the user is unknown; writing then fails, and says so.
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base) / "trackyard" / "proved" / f"{Path(real).name}-{short(digest_bytes(os.fsencode(real)))}.json"

"""Units of work of a build: some parts of a source become some shards, complete and proved, or nothing.

A unit is a directory that appears by a rename; a marker in it names the digest of each file and the account of the
records. What a unit holds depends on its parts alone. Source: reliability spec F1 and F6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from trackyard.acquire.importing.account import Account
from trackyard.digest import digest_bytes, digest_file
from trackyard.durable import atomic_directory
from trackyard.errors import DataError
from trackyard.row import Row
from trackyard.schema import read_document, write_document
from trackyard.snapshot.manifest import FileEntry
from trackyard.snapshot.writer import ShardWriter

UNIT_SCHEMA = "trackyard-build-unit/1"
MARKER = "unit.json"
IDS = "ids.npy"

_ID = struct.Struct("<QQIQ")
ID_TYPE = np.dtype([("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("number", "<u8")])
"""A row's id as 128 bits of its digest, and where it comes from: the part of the unit, the record of the part."""


class RowSource(Protocol):
    """A part of a dataset's source: plain data that a worker process can be handed.

    size: bytes that its rows will be, as far as that is known; units are formed by it. inputs: digest of everything
    that its rows depend on; a part whose digests change is another part.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def inputs(self) -> Mapping[str, str]: ...

    def rows(self, account: Account) -> Iterator[tuple[str, int, Row]]:
        """(split, number of the record, row), always the same ones in the same order; `account` fills meanwhile."""
        ...

    def place(self, number: int) -> str:
        """Where a record is, in words."""
        ...


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Parts that one process turns into shards, one after another."""

    number: int
    parts: tuple[RowSource, ...]

    @property
    def size(self) -> int:
        """Bytes that its rows will be, as far as that is known."""
        return sum(part.size for part in self.parts)

    def path(self, work: Path) -> Path:
        """Its directory below that of the build."""
        return work / "units" / f"{self.number:05d}"


def units_of(parts: Sequence[RowSource], shard_bytes: int) -> list[Unit]:
    """Consecutive parts, joined until they fill a shard: a thousand small files do not become a thousand shards."""
    units: list[Unit] = []
    waiting: list[RowSource] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += part.size
        if size >= shard_bytes:
            units.append(Unit(number=len(units), parts=tuple(waiting)))
            waiting, size = [], 0
    if waiting:
        units.append(Unit(number=len(units), parts=tuple(waiting)))
    return units


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What a unit became. ids: blake3 of its ids file."""

    files: tuple[FileEntry, ...]
    ids: str
    account: Mapping[str, Any]


_WRITTEN = TypeAdapter(Written)


def write_unit(work: Path, unit: Unit, *, shard_bytes: int, strict: bool) -> None:
    """Write a unit's directory. An error leaves nothing of it."""
    account = Account(strict=strict)
    ids = bytearray()
    with atomic_directory(unit.path(work)) as partial:
        with ExitStack() as stack:
            splits: dict[str, ShardWriter] = {}
            for index, part in enumerate(unit.parts):
                for split, number, row in part.rows(account):
                    if split not in splits:
                        splits[split] = stack.enter_context(ShardWriter(partial, split, shard_bytes))
                    splits[split].add(row)
                    ids += _ID.pack(*id_key(row.id), index, number)
        table = np.frombuffer(bytes(ids), dtype=ID_TYPE)
        np.save(partial / IDS, table, allow_pickle=False)
        written = Written(
            files=tuple(entry for _, shards in sorted(splits.items()) for entry in shards.files),
            ids=digest_file(partial / IDS),
            account=account.document(),
        )
        write_document(partial / MARKER, UNIT_SCHEMA, asdict(written))


def read_unit(work: Path, unit: Unit) -> Written | None:
    """What a unit became, proved byte by byte; None where it is not there, or not as its marker says."""
    path = unit.path(work)
    if not (path / MARKER).is_file():
        return None
    try:
        body = read_document(path / MARKER, UNIT_SCHEMA, fix="repeat the same command")
        written = _WRITTEN.validate_python(body)
        if digest_file(path / IDS) != written.ids:
            return None
        for entry in written.files:
            if (path / entry.path).stat().st_size != entry.bytes or digest_file(path / entry.path) != entry.blake3:
                return None
    except (OSError, DataError, ValidationError):
        return None
    return written


def id_key(identity: str) -> tuple[int, int]:
    """128 bits that stand for an id."""
    digest = bytes.fromhex(digest_bytes(identity.encode())[:32])
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def read_ids(work: Path, unit: Unit) -> NDArray[np.void]:
    """The ids file of a unit, [rows] of ID_TYPE."""
    found: NDArray[np.void] = np.load(unit.path(work) / IDS, allow_pickle=False)
    return found

"""One reading of a mapping's files: records become rows, one by one or grouped by the image that they share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackyard.acquire.importing.account import Account, Example
from trackyard.acquire.importing.buckets import Buckets, address_keys
from trackyard.acquire.importing.conversations import Conversation
from trackyard.acquire.importing.conversion import Converter, group_id, split_of, value_digest
from trackyard.acquire.importing.mapping import ImportMapping, Split
from trackyard.acquire.importing.records import Only, Record, UnusableRecord, listed, read_records
from trackyard.acquire.importing.sources import SourceFile, matching
from trackyard.errors import DataError
from trackyard.row import Row

UNITS = {".jsonl": "line", ".parquet": "row", ".txt": "document"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read, and where it lies. Plain data: worker processes are handed it.

    where: the mapping file. images: folder of the images fetched by address, None: base / media_root. entries: folders
    of other catalogue entries, by name; one that is not given lies below the base. groups: row groups of the one
    Parquet file. bucket: (k, n), the k-th of n equal parts of the addresses by which records are grouped.
    """

    mapping: ImportMapping
    where: Path
    base: Path
    files: tuple[SourceFile, ...]
    images: Path | None = None
    entries: Mapping[str, Path] = field(default_factory=dict)
    groups: range | None = None
    bucket: tuple[int, int] = (0, 1)
    named: bool = False
    """Whether reports name the file of a record."""

    def rows(self, account: Account, only: Split | None = None) -> Iterator[tuple[Split, int, Row]]:
        """(split, number of the record in its file, row), all splits or only one; `account` fills while rows stream.

        With `only`, what belongs to another split is that one's to count. DataError if a file cannot be read.
        """
        reader = _Reader(self, account, only)
        return reader.grouped() if self.mapping.group_by is not None else reader.single()

    def image_folder(self) -> Path | None:
        """Where images fetched by address lie; None if the mapping has none."""
        if not any(source.origin == "url" for source in self.mapping.media):
            return None
        return self.images if self.images is not None else self.base / self.mapping.media_root

    def held_out_files(self) -> list[Path]:
        """Files that list what must not be trained on."""
        rule = self.mapping.held_out
        if rule is None:
            return []
        folder = self.entries.get(rule.entry, self.base / rule.entry)
        if not folder.is_dir():
            raise DataError(
                what=f"{folder} does not exist",
                why=f"{self.where} leaves out what {rule.entry} evaluates on, and its list is needed for that",
                fix=f"trackyard data fetch {rule.entry}, or lay its files below {folder}",
            )
        return matching(folder, rule.source, where=self.where)


@dataclass(slots=True)
class _Held:
    """A record whose row waits for others of the same image."""

    example: Example
    said: list[Conversation]


@dataclass(slots=True)
class _Shared:
    """Records of one image, in order. record: the first, whose media are read."""

    split: Split
    record: Mapping[str, Any]
    number: int
    held: list[_Held]


class _Reader:
    def __init__(self, reading: Reading, account: Account, only: Split | None) -> None:
        self._reading, self._account, self._only = reading, account, only
        self._mapping = reading.mapping
        self._unit = UNITS[reading.mapping.suffix]
        folder, images = reading.image_folder(), None
        if folder is not None:
            from trackyard.acquire.images.fetch import UrlImages

            images = UrlImages.open(folder)
        self._converter = Converter(
            reading.mapping,
            media_root=reading.base / reading.mapping.media_root,
            images=images,
            held_out=frozenset(_held_out(reading)),
        )

    def _records(self, only: Only | None = None) -> Iterator[tuple[SourceFile, int, Record]]:
        for file in self._reading.files:
            if self._only is not None and file.split not in (None, self._only):
                continue
            for number, record in read_records(file.path, self._mapping, groups=self._reading.groups, only=only):
                yield file, number, record

    def _home(self, file: SourceFile) -> Split:
        # Whoever comes first answers for the records whose split cannot be told.
        return file.split or self._mapping.splits[0]

    def _is_ours(self, split: Split) -> bool:
        return self._only in (None, split)

    def _example(self, file: SourceFile, number: int, identity: str, detail: str) -> Example:
        name = file.name if self._reading.named else ""
        return Example(file=name, number=number, unit=self._unit, identity=identity, detail=detail)

    def single(self) -> Iterator[tuple[Split, int, Row]]:
        """A row for each record."""
        for file, number, record in self._records():
            home, identity = self._home(file), ""
            try:
                if isinstance(record, UnusableRecord):
                    raise record
                identity = self._converter.identity(number, record, file.prefix)
                home = split_of(self._mapping, identity, record, file.split)
                if not self._is_ours(home):
                    continue
                self._converter.check_wanted(record)
                said = self._converter.conversations(record)
                row = self._converter.row(identity, record, said, self._converter.media(record))
            except UnusableRecord as problem:
                if self._is_ours(home):
                    self._account.leave_out(problem, self._example(file, number, identity, problem.detail))
                continue
            self._account.use(note for conversation in said for note in conversation.notes)
            yield home, number, row

    def grouped(self) -> Iterator[tuple[Split, int, Row]]:
        """A row for each image, in order of first appearance; texts of the bucket's records are held in memory."""
        field, (index, count) = self._mapping.group_by or "", self._reading.bucket
        only = None
        if count > 1:
            buckets = Buckets(address_keys((file.path for file in self._reading.files), field), count)
            only = Only(field, lambda key: buckets.of(key) == index)
        shared: dict[tuple[Split, str], _Shared] = {}
        for file, number, record in self._records(only):
            home, key = self._home(file), ""
            try:
                if isinstance(record, UnusableRecord):
                    raise record
                key = self._converter.key(record)
                home = split_of(self._mapping, key, record, file.split)
                if not self._is_ours(home):
                    continue
                self._converter.check_wanted(record)
                said = self._converter.conversations(record)
            except UnusableRecord as problem:
                if self._is_ours(home):
                    self._account.leave_out(problem, self._example(file, number, key, problem.detail))
                continue
            group = shared.setdefault((home, key), _Shared(home, record, number, []))
            group.held.append(_Held(self._example(file, number, key, ""), said))
        for (_, key), group in shared.items():
            yield from self._rows_of(key, group)

    def _rows_of(self, key: str, group: _Shared) -> Iterator[tuple[Split, int, Row]]:
        said = [conversation for held in group.held for conversation in held.said]
        limit = self._mapping.group_limit
        try:
            media = self._converter.media(group.record)
            rows = [
                self._converter.row(group_id(key, start // limit), group.record, said[start : start + limit], media)
                for start in range(0, len(said), limit)
            ]
        except UnusableRecord as problem:
            for held in group.held:
                example = held.example
                self._account.leave_out(
                    problem, Example(example.file, example.number, example.unit, example.identity, problem.detail)
                )
            return
        for held in group.held:
            self._account.use(note for conversation in held.said for note in conversation.notes)
        for row in rows:
            yield group.split, group.number, row


def _held_out(reading: Reading) -> Iterator[bytes]:
    rule = reading.mapping.held_out
    for path in reading.held_out_files():
        for value in listed(path, rule.field if rule is not None else ""):
            yield value_digest(value)

"""Import of one's own data: a mapping file and its source become a stream of rows, and every other record is counted.

Source: molmo2 spec sections 3 and 9, reliability spec P7 and F7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackyard.acquire.importing.account import Account
from trackyard.acquire.importing.mapping import ImportMapping, Split, read_mapping
from trackyard.acquire.importing.reading import Reading
from trackyard.acquire.importing.sources import SourceFile, resolve
from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError
from trackyard.row import Row


def mapping_digest(mapping: ImportMapping) -> str:
    """Identity of what a mapping says. A parameter at its default is not part of it: new ones change nothing."""
    return digest_json(mapping.model_dump(mode="json", exclude_defaults=True))


def source_of(mapping: ImportMapping, files: Mapping[str, str]) -> dict[str, Any]:
    """What a manifest says of an import. files: blake3 of every source by its name."""
    patterns = [pattern for _, pattern in mapping.patterns()]
    if len(patterns) == 1 and list(files) == patterns:
        return {"import": patterns[0], "blake3": files[patterns[0]], "mapping": mapping_digest(mapping)}
    return {"import": patterns, "files": dict(files), "mapping": mapping_digest(mapping)}


@dataclass(slots=True)
class _Pass:
    """What one reading of the source for one split found."""

    account: Account
    used: int = 0
    finished: bool = False


@dataclass(slots=True, kw_only=True)
class ImportStream:
    """The rows of a mapping's source, and the account of those that are none. Made by `open_import`.

    unusable: records left out, by reason. It fills while rows stream, each record counted once however often the source
    is read, so it is complete when every split has been read to its end.
    """

    reading: Reading
    strict: bool = False
    max_bad_records: float | None = None
    dataset: str = ""
    licence: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    unusable: Counter[str] = field(default_factory=Counter)
    _passes: dict[Split, _Pass] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mapping = self.reading.mapping
        self.dataset, self.licence = mapping.dataset, mapping.licence
        self.source = source_of(mapping, {file.name: digest_file(file.path) for file in self.reading.files})

    def splits(self) -> Mapping[str, Iterable[Row]]:
        """Rows by split. Each split reads the source once; a split that stays empty is the writer's to leave out.

        Reading the last one to its end raises DataError if no split had a usable row, or too many records are bad.
        """
        return {split: self._rows(split) for split in self.reading.mapping.splits}

    def _rows(self, split: Split) -> Iterator[Row]:
        found = self._begin(split)
        before: Counter[str] = Counter()
        for _, _, row in self.reading.rows(found.account, split):
            self._count(found.account, before)
            found.used += 1
            yield row
        self._count(found.account, before)
        found.finished = True
        self._refuse()

    def _count(self, account: Account, before: Counter[str]) -> None:
        """Bring `unusable` up to date. It is one object for its readers, whoever counts."""
        self.unusable.update(account.unusable - before)
        before.update(account.unusable - before)

    def _begin(self, split: Split) -> _Pass:
        """A split that is read again is counted anew."""
        before = self._passes.get(split)
        if before is not None:
            self.unusable -= before.account.unusable
        self._passes[split] = _Pass(Account(strict=self.strict))
        return self._passes[split]

    def _total(self) -> Account:
        total = Account()
        for found in self._passes.values():
            total.add(found.account)
        return total

    def _refuse(self) -> None:
        mapping = self.reading.mapping
        if len(self._passes) < len(mapping.splits) or not all(found.finished for found in self._passes.values()):
            return
        total = self._total()
        if not any(found.used for found in self._passes.values()):
            raise nothing_usable(self.reading, total)
        total.check_budget(self.dataset, self.max_bad_records)

    def report(self) -> list[str]:
        """Lines for the terminal: rows used by split, then records left out by reason with the first examples."""
        used = ", ".join(f"{found.used:,} {split}" for split, found in self._passes.items()) or "0"
        return [f"rows used: {used}; records left out: {self.unusable.total():,}", *self._total().lines()]


def nothing_usable(reading: Reading, account: Account) -> DataError:
    """The error for a source without one usable row."""
    mapping, files = reading.mapping, reading.files
    where = str(files[0].path) if len(files) == 1 else f"the {len(files)} files of {reading.where}"
    verb = "has" if len(files) == 1 else "have"
    return DataError(
        what=f"no row of {mapping.dataset} is usable: {where} {verb} {account.unusable.total():,} records",
        why="\n      ".join(account.lines()) or "the source is empty",
        fix="put right what is named above, in the mapping, its source or the media folder "
        f"{reading.base / mapping.media_root}; then: trackyard data import {reading.where} --base {reading.base}",
    )


def reading_of(
    mapping: Path, base: Path, *, images: Path | None = None, entries: Mapping[str, Path] | None = None
) -> Reading:
    """The reading of everything that a mapping file names. See `open_import`."""
    described = read_mapping(mapping)
    files: tuple[SourceFile, ...] = resolve(described, where=mapping, base=base)
    return Reading(
        mapping=described,
        where=mapping,
        base=base,
        files=files,
        images=images,
        entries=dict(entries or {}),
        named=len(files) > 1,
    )


def open_import(
    mapping: Path,
    base: Path,
    *,
    images: Path | None = None,
    entries: Mapping[str, Path] | None = None,
    strict: bool = False,
    max_bad_records: float | None = None,
) -> ImportStream:
    """Open what a mapping file describes. base: the directory that `source` and `media_root` are relative to.

    images: folder of the images fetched by address. entries: folders of other catalogue entries that the mapping reads.
    strict: stop at the first bad record. max_bad_records: the largest share of bad records, checked at the end.
    ConfigError for a wrong mapping; DataError if the source does not exist.
    """
    reading = reading_of(mapping, base, images=images, entries=entries)
    return ImportStream(reading=reading, strict=strict, max_bad_records=max_bad_records)

"""Import of one's own data: a mapping file and its source become a stream of rows, and every other record is counted.

Source: molmo2 spec sections 3 and 9, reliability spec P7 and F7.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackyard.acquire.conversion import convert, row_id, split_of
from trackyard.acquire.mapping import ImportMapping, Split, read_mapping
from trackyard.acquire.records import UnusableRecord, read_records
from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError
from trackyard.row import Row

EXAMPLES = 3
"""Records that the report names per reason."""


@dataclass(frozen=True, order=True, slots=True)
class Example:
    """A record that was left out. number: its line, or its row or document."""

    number: int
    identity: str
    detail: str


@dataclass(slots=True)
class _Pass:
    """What one reading of the source for one split found."""

    used: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[Example]] = field(default_factory=lambda: defaultdict(list))
    finished: bool = False


class ImportStream:
    """The rows of a mapping's source, and the account of those that are none. Made by `open_import`.

    unusable: records left out, by reason. It fills while rows stream, each record counted once however often the source
    is read, so it is complete when every split has been read to its end.
    """

    def __init__(self, mapping: ImportMapping, *, where: Path, base: Path) -> None:
        """where: the mapping file; base: the directory that its source and media root are relative to."""
        self._mapping, self._where, self._base = mapping, where, base
        self._path = (base if mapping.source is not None else where.parent) / mapping.annotations
        if not self._path.is_file():
            raise DataError(
                what=f"{self._path} does not exist",
                why=f"it is the source that {where} names, relative to {self._path_is_relative_to}",
                fix=f"trackyard data import {where} --base FOLDER, the folder that holds the source",
            )
        self.dataset = mapping.dataset
        self.licence = mapping.licence
        self.source: dict[str, Any] = {
            "import": str(mapping.annotations),
            "blake3": digest_file(self._path),
            "mapping": digest_json(mapping.model_dump(mode="json")),
        }
        self.unusable: Counter[str] = Counter()
        self._passes: dict[Split, _Pass] = {}

    @property
    def _path_is_relative_to(self) -> str:
        return f"the base {self._base}" if self._mapping.source is not None else "the mapping file"

    def splits(self) -> Mapping[str, Iterable[Row]]:
        """Rows by split. Each split reads the source once; a split that stays empty is the writer's to leave out.

        Reading the last one to its end raises DataError if no split had a usable row.
        """
        return {split: self._rows(split) for split in self._mapping.splits}

    def _rows(self, split: Split) -> Iterator[Row]:
        found = self._begin(split)
        for number, record in read_records(self._path, self._mapping):
            # Whoever comes first answers for the records whose split cannot be told.
            home, identity = self._mapping.splits[0], ""
            try:
                if isinstance(record, UnusableRecord):
                    raise record
                identity = row_id(self._mapping, number, record)
                home = split_of(self._mapping, identity, record)
                if home != split:
                    continue
                row = convert(self._mapping, identity, record, self._base / self._mapping.media_root)
            except UnusableRecord as problem:
                if home == split:
                    self._leave_out(found, problem, Example(number, identity, problem.detail))
                continue
            found.used += 1
            yield row
        found.finished = True
        self._refuse_nothing()

    def _begin(self, split: Split) -> _Pass:
        """A split that is read again is counted anew."""
        before = self._passes.get(split, _Pass())
        self.unusable -= before.unusable
        self._passes[split] = _Pass()
        return self._passes[split]

    def _leave_out(self, found: _Pass, problem: UnusableRecord, example: Example) -> None:
        self.unusable[problem.reason] += 1
        found.unusable[problem.reason] += 1
        if len(found.examples[problem.reason]) < EXAMPLES:
            found.examples[problem.reason].append(example)

    def _refuse_nothing(self) -> None:
        complete = len(self._passes) == len(self._mapping.splits) and all(p.finished for p in self._passes.values())
        if complete and not any(found.used for found in self._passes.values()):
            total = self.unusable.total()
            raise DataError(
                what=f"no row of {self.dataset} is usable: {self._path} has {total:,} records",
                why="\n      ".join(self._left_out()) or "the source is empty",
                fix="put right what is named above, in the mapping, its source or the media folder "
                f"{self._base / self._mapping.media_root}; then: "
                f"trackyard data import {self._where} --base {self._base}",
            )

    def _left_out(self) -> Iterator[str]:
        for reason, count in sorted(self.unusable.items(), key=lambda item: (-item[1], item[0])):
            yield f"left out: {count:,} × {reason}"
            examples = sorted(example for found in self._passes.values() for example in found.examples[reason])
            for example in examples[:EXAMPLES]:
                named = f" ({example.identity})" if example.identity else ""
                yield f"  line {example.number}{named}: {example.detail}"

    def report(self) -> list[str]:
        """Lines for the terminal: rows used by split, then records left out by reason with the first examples."""
        used = ", ".join(f"{found.used:,} {split}" for split, found in self._passes.items()) or "0"
        total = self.unusable.total()
        return [f"rows used: {used}; records left out: {total:,}", *self._left_out()]


def open_import(mapping: Path, base: Path) -> ImportStream:
    """Open what a mapping file describes. base: the directory that `source` and `media_root` are relative to.

    ConfigError for a wrong mapping; DataError if the source does not exist.
    """
    return ImportStream(read_mapping(mapping), where=mapping, base=base)

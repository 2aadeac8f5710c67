"""docs.parquet: every document that a study uses, with its split and slice; and the check that no text is used twice.

The check reads the table as it lies on disk, and does not trust how it was made. Source: pile-ffn spec sections 5, 14.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.text.document_ids import DocumentIds
from trackyard.recipes.pile_ffn.text.documents import Tokenised

AT_ONCE = 16_384
"""Documents that are held in memory."""
TRAIN = "train"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A document of a study. doc_id: 32 hex characters; bytes: of its text, n_tokens: as kept (attack sets are cut).

    split: train or a held-out set. slice: number of the replicate, None for held-out documents.
    """

    doc_id: str
    source: str
    row: int
    component: str
    bytes: int
    n_tokens: int
    split: str
    slice: int | None

    @classmethod
    def of(cls, item: Tokenised, *, split: str, slice: int | None = None) -> Entry:
        found = item.document
        return cls(
            doc_id=found.id.hex(),
            source=found.source,
            row=found.row,
            component=found.component,
            bytes=found.size,
            n_tokens=item.ids.size,
            split=split,
            slice=slice,
        )


_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("component", pa.string()),
        ("bytes", pa.int64()),
        ("n_tokens", pa.int64()),
        ("split", pa.string()),
        ("slice", pa.int16()),
    ]
)
_FIELDS = tuple(field.name for field in fields(Entry))


class TableWriter:
    """A table that is written as its documents come; the caller's directory makes it atomic.

    As a context manager; what was added is in the file when the block ends.
    """

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._write()
        finally:
            self._writer.close()

    def add(self, entry: Entry) -> None:
        self._waiting.append({name: getattr(entry, name) for name in _FIELDS})
        if len(self._waiting) == AT_ONCE:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=_SCHEMA))
            self._waiting.clear()


def write_table(path: Path, entries: Iterable[Entry]) -> int:
    """Write a stream of documents in their order and return how many; the caller's directory makes it atomic."""
    count = 0
    with TableWriter(path) as table:
        for entry in entries:
            table.add(entry)
            count += 1
    return count


def read_table(path: Path) -> Iterator[Entry]:
    """Documents in their order. DataError if the file is no such table."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=AT_ONCE, columns=list(_FIELDS)):
                for values in batch.to_pylist():
                    yield Entry(**values)
    except (OSError, pa.ArrowInvalid, TypeError) as error:
        raise DataError(
            what=f"{path} cannot be read as a table of documents: {error}",
            why="splits and slices are stated there and nowhere else",
            fix="prepare the tokens again: dvc repro pipelines/pile_ffn/dvc.yaml:tokenize",
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Hygiene:
    """What a clean table holds.

    documents: by split. slice_digests: by replicate, blake3 of the ids of the slice in their order: equal for all arms
    of a seed.
    """

    documents: dict[str, int]
    slice_digests: dict[int, str]


def check_splits(entries: Iterable[Entry]) -> Hygiene:
    """DataError if a text occurs twice, in two splits or in two slices, or if nothing is held out or trained on."""
    seen = DocumentIds()
    counts: dict[str, int] = {}
    slices: dict[int, blake3] = {}
    for entry in entries:
        name = bytes.fromhex(entry.doc_id)
        if not seen.add(name) or (entry.slice is None) is (entry.split == TRAIN):
            raise DataError(
                what=f"document {entry.doc_id} ({entry.source}, row {entry.row}) is used twice, or has no place: "
                f"split {entry.split!r}, slice {entry.slice}",
                why="held-out text that was trained on measures memory, and shared slices are no replicates",
                fix="prepare the tokens again: dvc repro -f pipelines/pile_ffn/dvc.yaml:tokenize",
            )
        counts[entry.split] = counts.get(entry.split, 0) + 1
        if entry.slice is not None:
            slices.setdefault(entry.slice, blake3()).update(name)
    if TRAIN not in counts or len(counts) < 2:
        raise DataError(
            what=f"the table holds {counts or 'no documents'}",
            why="a check over no held-out or no training documents proves nothing",
            fix="prepare the tokens again: dvc repro -f pipelines/pile_ffn/dvc.yaml:tokenize",
        )
    return Hygiene(documents=counts, slice_digests={number: hasher.hexdigest() for number, hasher in slices.items()})

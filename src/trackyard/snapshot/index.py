"""The index: how long each row of a split is, and what of it cannot be used. Source: design section 3."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trackyard.digest import digest_bytes
from trackyard.durable import write_atomic

Ints = NDArray[np.int32]
COLUMNS = ("tokens", "visual", "inputs", "labels")
USABLE = "usable"
KEY = b"trackyard.key"
FINGERPRINT = b"trackyard.fingerprint"
REASONS = b"trackyard.reasons"
NOTES = b"trackyard.notes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a row costs. tokens: whole sequence; visual: visual tokens in it; inputs: crops and frames; labels: targets.

    reason: why the row cannot be used, None if it can. kind: image, video or text. notes: what is dropped or changed of
    a row that is used, by what it is, with how many of it.
    """

    tokens: int
    visual: int
    inputs: int
    labels: int
    reason: str | None
    kind: str
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LengthIndex:
    """Lengths of every row of a split, int32 [rows]; reason[i] is the number of row i's reason, 0 where usable."""

    tokens: Ints
    visual: Ints
    inputs: Ints
    labels: Ints
    reason: Ints
    reasons: tuple[str, ...]
    """Reason texts; number 0 is "usable"."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """What is dropped or changed of the usable rows, summed over them."""

    @property
    def usable(self) -> NDArray[np.int64]:
        """Numbers of the rows that can be trained on."""
        return np.flatnonzero(self.reason == 0)

    def counts_by_reason(self) -> dict[str, int]:
        """How many rows each reason excludes."""
        counts = Counter(self.reason[self.reason > 0].tolist())
        return {self.reasons[number]: count for number, count in sorted(counts.items())}

    @property
    def fingerprint(self) -> str:
        """Digest of all columns."""
        columns = b"".join(getattr(self, name).astype("<i4").tobytes() for name in (*COLUMNS, "reason"))
        told = "\0".join([*self.reasons, *(f"{note}={count}" for note, count in sorted(self.notes.items()))])
        return digest_bytes(columns + told.encode())


def index_of_values(values: Ints, reasons: Sequence[str], notes: Mapping[str, int]) -> LengthIndex:
    """values: int32 [rows, 5], the columns and the number of the reason."""
    tokens, visual, inputs, labels, reason = (np.ascontiguousarray(column) for column in values.T)
    changed = {note: count for note, count in sorted(notes.items()) if count}
    return LengthIndex(
        tokens=tokens, visual=visual, inputs=inputs, labels=labels, reason=reason, reasons=tuple(reasons), notes=changed
    )


def write_index(path: Path, key: str, index: LengthIndex) -> None:
    """Keep an index. key: of everything it depends on."""
    table = pa.table({name: getattr(index, name) for name in (*COLUMNS, "reason")})
    table = table.replace_schema_metadata(
        {
            KEY: key,
            FINGERPRINT: index.fingerprint,
            REASONS: json.dumps(index.reasons, ensure_ascii=False),
            NOTES: json.dumps(dict(index.notes), ensure_ascii=False),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    write_atomic(path, sink.getvalue().to_pybytes())


def read_index(path: Path, key: str, rows: int) -> LengthIndex | None:
    """The index kept at `path` if it is whole, of this key and of this many rows; None otherwise."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        metadata = table.schema.metadata or {}
        columns = {name: table.column(name).to_numpy() for name in (*COLUMNS, "reason")}
        index = LengthIndex(**columns, reasons=tuple(json.loads(metadata[REASONS])), notes=json.loads(metadata[NOTES]))
        stated = metadata[FINGERPRINT].decode()
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    whole = metadata.get(KEY) == key.encode() and table.num_rows == rows and stated == index.fingerprint
    return index if whole else None

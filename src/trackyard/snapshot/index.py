"""The index: how long each row is, measured once for a tokenizer and a preprocessing. Source: design section 3."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trackyard.digest import digest_bytes, digest_json, short
from trackyard.durable import write_atomic
from trackyard.progress import track
from trackyard.row import Row
from trackyard.snapshot.reader import SnapshotDataset

Ints = NDArray[np.int32]
COLUMNS = ("tokens", "visual", "inputs", "labels")
KEY = b"trackyard.key"
FINGERPRINT = b"trackyard.fingerprint"
REASONS = b"trackyard.reasons"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a row costs. tokens: whole sequence; visual: visual tokens in it; inputs: crops and frames; labels: targets.

    reason: why the row cannot be used, None if it can. kind: image, video or text.
    """

    tokens: int
    visual: int
    inputs: int
    labels: int
    reason: str | None
    kind: str


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
        return digest_bytes(columns + "\0".join(self.reasons).encode())


def build_index(
    dataset: SnapshotDataset,
    split: str,
    measure: Callable[[Row], Measured],
    *,
    measure_key: str,
    cache: Path,
) -> LengthIndex:
    """Measure every row of a split, or read what was measured before.

    measure_key: digest of everything that `measure` depends on besides the row. The file in `cache` is named by it, the
    manifest's fingerprint and the split. A file that is damaged, or not of this key, is measured anew and replaced: it
    can always be derived again.
    """
    key = digest_json({"manifest": dataset.manifest.fingerprint, "split": split, "measure": measure_key})
    path = cache / f"{dataset.name}-{split}-{short(key)}.parquet"
    known = _read(path, key, dataset.rows(split))
    if known is not None:
        return known
    reasons = ["usable"]
    values = np.zeros((dataset.rows(split), len(COLUMNS) + 1), dtype=np.int32)
    rows = track(dataset.iterate(split), label=f"measuring {dataset.name}/{split}", total=dataset.rows(split))
    for number, row in enumerate(rows):
        found = measure(row)
        if found.reason is not None and found.reason not in reasons:
            reasons.append(found.reason)
        reason = 0 if found.reason is None else reasons.index(found.reason)
        values[number] = (found.tokens, found.visual, found.inputs, found.labels, reason)
    tokens, visual, inputs, labels, reason_column = (np.ascontiguousarray(column) for column in values.T)
    index = LengthIndex(
        tokens=tokens, visual=visual, inputs=inputs, labels=labels, reason=reason_column, reasons=tuple(reasons)
    )
    _write(path, key, index)
    return index


def _write(path: Path, key: str, index: LengthIndex) -> None:
    table = pa.table({name: getattr(index, name) for name in (*COLUMNS, "reason")})
    table = table.replace_schema_metadata(
        {KEY: key, FINGERPRINT: index.fingerprint, REASONS: json.dumps(index.reasons, ensure_ascii=False)}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    write_atomic(path, sink.getvalue().to_pybytes())


def _read(path: Path, key: str, rows: int) -> LengthIndex | None:
    """The index kept at `path` if it is whole, of this key and of this many rows; None otherwise."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        metadata = table.schema.metadata or {}
        columns = {name: table.column(name).to_numpy() for name in (*COLUMNS, "reason")}
        index = LengthIndex(**columns, reasons=tuple(json.loads(metadata[REASONS])))
        stated = metadata[FINGERPRINT].decode()
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    whole = metadata.get(KEY) == key.encode() and table.num_rows == rows and stated == index.fingerprint
    return index if whole else None

"""Records of an import source, one by one, in bounded memory: JSONL, Parquet, or documents cut out of a text file."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.mapping import DOCUMENT, ImportMapping
from trackyard.errors import DataError

INVALID_JSON = "invalid JSON"
INVALID_UTF8 = "invalid UTF-8"
NOT_AN_OBJECT = "not a JSON object"
LINE_TOO_LONG = "line above 64 MB"

MAX_LINE_BYTES = 64_000_000
"""Longest line that is read into memory."""
BATCH_ROWS = 64
"""Parquet rows decoded at a time."""


class UnusableRecord(Exception):
    """A record that cannot become a row. reason: the stable label it is counted under; detail: what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


Record = dict[str, Any] | UnusableRecord
"""The fields of a record, or why it has none."""


def read_records(path: Path, mapping: ImportMapping) -> Iterator[tuple[int, Record]]:
    """Every record of the source with its number from 1 on (the line; for Parquet the row, for text the document).

    What is wrong with one record takes its place in the stream. DataError if the file itself cannot be read.
    """
    if path.suffix == ".parquet":
        return _parquet(path, mapping)
    if mapping.document_characters is not None:
        return enumerate(_documents(path, mapping.document_characters), start=1)
    return _json_lines(path)


def _lines(path: Path) -> Iterator[tuple[int, bytes | UnusableRecord]]:
    with open(path, "rb") as handle:
        number = 0
        while line := handle.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) <= MAX_LINE_BYTES:
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                continue
            size = len(line)
            while not line.endswith(b"\n") and (line := handle.readline(MAX_LINE_BYTES)):
                size += len(line)
            yield number, UnusableRecord(LINE_TOO_LONG, f"{size:,} bytes")


def _json_lines(path: Path) -> Iterator[tuple[int, Record]]:
    """Blank lines are no records."""
    for number, line in _lines(path):
        if isinstance(line, UnusableRecord):
            yield number, line
        elif line.strip():
            yield number, _parsed(line)


def _parsed(line: bytes) -> Record:
    try:
        value: Any = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return UnusableRecord(INVALID_UTF8, str(error))
    except (ValueError, RecursionError) as error:
        return UnusableRecord(INVALID_JSON, str(error))
    if not isinstance(value, dict):
        return UnusableRecord(NOT_AN_OBJECT, f"a {type(value).__name__}")
    return value


def _documents(path: Path, characters: int) -> Iterator[Record]:
    """Documents of whole lines, at most `characters` long unless one line alone is longer."""
    lines: list[str] = []
    for number, line in _lines(path):
        try:
            if isinstance(line, UnusableRecord):
                raise line
            text = line.decode()
        except (UnicodeDecodeError, UnusableRecord) as error:
            # What is on either side of a lost line is not one text.
            if lines:
                yield {DOCUMENT: "".join(lines)}
            lines = []
            yield _lost(error, number)
            continue
        if lines and sum(map(len, lines)) + len(text) > characters:
            yield {DOCUMENT: "".join(lines)}
            lines = []
        lines.append(text)
    if lines:
        yield {DOCUMENT: "".join(lines)}


def _lost(error: UnicodeDecodeError | UnusableRecord, line: int) -> UnusableRecord:
    if isinstance(error, UnusableRecord):
        return UnusableRecord(error.reason, f"line {line} of the text, {error.detail}")
    return UnusableRecord(INVALID_UTF8, f"line {line} of the text, {error}")


def _parquet(path: Path, mapping: ImportMapping) -> Iterator[tuple[int, Record]]:
    """Only the fields that the mapping names are decoded; page checksums are verified where the file has them."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns = [name for name in file.schema_arrow.names if name in mapping.fields]
            number = 0
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False):
                for position in range(batch.num_rows):
                    number += 1
                    yield number, _row_of(batch, position)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            what=f"{path} cannot be read as Parquet: {error}",
            why="its rows cannot be told apart from damage, so none is imported",
            fix="fetch the file again, and repeat the same command",
        ) from error


def _row_of(batch: pa.RecordBatch, position: int) -> Record:
    try:
        return {name: batch.column(name)[position].as_py() for name in batch.schema.names}
    except UnicodeDecodeError as error:
        return UnusableRecord(INVALID_UTF8, str(error))

"""Records of an import source, one by one, in bounded memory: JSONL, Parquet, or documents cut out of a text file."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.acquire.importing.mapping import DOCUMENT, ImportMapping
from trackyard.errors import DataError

INVALID_JSON = "invalid JSON"
INVALID_UTF8 = "invalid UTF-8"
NOT_AN_OBJECT = "not a JSON object"
LINE_TOO_LONG = "line above 64 MB"

MAX_LINE_BYTES = 64_000_000
"""Longest line that is read into memory."""


class UnusableRecord(Exception):
    """A record that cannot become a row. reason: the stable label it is counted under; detail: what was seen.

    expected: it is left out on purpose, or its image was known to be lost; it does not count as bad.
    """

    def __init__(self, reason: str, detail: str, *, expected: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.expected = reason, detail, expected


Record = dict[str, Any] | UnusableRecord
"""The fields of a record, or why it has none."""


@dataclass(frozen=True, slots=True)
class Only:
    """Which records are wanted: those whose field passes the test. A record that is broken has the value None."""

    field: str
    test: Callable[[Any], bool]


def read_records(
    path: Path, mapping: ImportMapping, *, groups: range | None = None, only: Only | None = None
) -> Iterator[tuple[int, Record]]:
    """Every record of a file with its number from 1 on (the line; for Parquet the row, for text the document).

    groups: the row groups of a Parquet file that are read; the numbers are those in the whole file.
    What is wrong with one record takes its place in the stream. DataError if the file itself cannot be read.
    """
    if mapping.suffix == ".parquet":
        # Of the three formats, only this one costs an import of Arrow.
        from trackyard.acquire.importing.tables import read_table

        return read_table(path, mapping, groups=groups, only=only)
    if mapping.document_characters is not None:
        return enumerate(_documents(path, mapping.document_characters), start=1)
    if only is not None:
        return ((number, record) for number, record in _json_lines(path) if only.test(_value(record, only.field)))
    return _json_lines(path)


def listed(path: Path, field: str, *, strict: bool = True) -> Iterator[Any]:
    """Values of one field of a Parquet or JSONL file, in bounded memory.

    strict: a record without the field is a DataError; otherwise its value is None.
    """
    if path.suffix == ".parquet":
        from trackyard.acquire.importing.tables import read_column

        yield from read_column(path, field)
        return
    for number, record in _json_lines(path):
        if strict and (isinstance(record, UnusableRecord) or field not in record):
            raise DataError(
                what=f"{path} line {number} has no {field!r}",
                why="what it should list would be missed",
                fix="fetch the file again, and repeat the same command",
            )
        yield _value(record, field)


def _value(record: Record, field: str) -> Any:
    return None if isinstance(record, UnusableRecord) else record.get(field)


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

"""Documents of a file of training text, one at a time, in any of the forms that the study's sources have.

JSON lines (.jsonl, .json, also .zst and .gz: the Pile, C4), Parquet with a column `text` (OpenWebText, the deduplicated
Pile), and plain text. Plain text has no marks between documents: paragraphs are gathered to `TEXT_CHARACTERS`.
Source: pile-ffn spec section 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.errors import ConfigError, DataError
from trackyard.recipes.pile_ffn.text.documents import Document
from trackyard.recipes.pile_ffn.text.jsonl import UNLABELLED, read_jsonl
from trackyard.recipes.pile_ffn.text.streaming import MAX_RECORD

FORMS = (".jsonl", ".json", ".jsonl.zst", ".json.zst", ".jsonl.gz", ".json.gz", ".parquet", ".txt")
TEXT_CHARACTERS = 4_000
"""Bytes of a document of plain text, about: paragraphs up to the first blank line behind that many."""
ROWS = 128
"""Rows of a Parquet file that are decoded at once."""
BUFFER = 1 << 20
"""Bytes of a Parquet file that are read at once; without a bound a whole column of a row group is."""
COLUMN = "text"


def form_of(name: str) -> str:
    """The ending that says how a file is read. ConfigError for one that is not among `FORMS`."""
    found = [form for form in FORMS if name.endswith(form)]
    if not found:
        raise ConfigError(
            what=f"{name} has none of the endings {', '.join(FORMS)}",
            why="the ending says how documents are found in a file",
            fix="correct the paths under pile_ffn.data.source in params.yaml, or write the text as JSON lines",
        )
    return max(found, key=len)


def read_documents(path: Path, *, source: str | None = None) -> Iterator[Document]:
    """Documents of a file in their order; memory for a few of them. source: what they name as their file.

    DataError names the file and the row of what is no document; those before it are given.
    """
    form, source = form_of(path.name), source or path.name
    if form == ".parquet":
        return _read_parquet(path, source)
    if form == ".txt":
        return _read_text(path, source)
    return read_jsonl(path, source=source)


def _read_parquet(path: Path, source: str) -> Iterator[Document]:
    row = 0
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            if COLUMN not in file.schema_arrow.names:
                raise KeyError(f"no column {COLUMN!r}, only {', '.join(file.schema_arrow.names)}")
            for batch in file.iter_batches(batch_size=ROWS, columns=[COLUMN], use_threads=False):
                for text in batch.column(0):
                    value = text.as_py()
                    if not isinstance(value, str):
                        raise TypeError(f"{COLUMN} is a {type(value).__name__}")
                    yield Document.of(value, component=UNLABELLED, source=source, row=row)
                    row += 1
    except (OSError, pa.ArrowException, KeyError, TypeError, UnicodeDecodeError) as error:
        raise _no_document(path, row, error, f"documents are rows with a column {COLUMN!r}") from error


def _read_text(path: Path, source: str) -> Iterator[Document]:
    row = 0
    try:
        for row, data in enumerate(_gathered(path)):
            yield Document.of(data.decode(), component=UNLABELLED, source=source, row=row)
    except (OSError, ValueError) as error:
        raise _no_document(path, row, error, "plain text is in UTF-8, with blank lines between paragraphs") from error


def _gathered(path: Path) -> Iterator[bytes]:
    """The bytes of a text, whole: every piece but the last ends with a blank line."""
    held: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(MAX_RECORD), b""):
            held.append(line)
            size += len(line)
            if size >= MAX_RECORD:
                raise ValueError(f"{MAX_RECORD:,} bytes without a blank line")
            if size >= TEXT_CHARACTERS and not line.strip():
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


def _no_document(path: Path, row: int, error: Exception, why: str) -> DataError:
    return DataError(
        what=f"{path}, row {row}: {type(error).__name__}: {error}",
        why=why,
        fix=f"fetch or write {path.name} again; it is damaged, or is another format",
    )

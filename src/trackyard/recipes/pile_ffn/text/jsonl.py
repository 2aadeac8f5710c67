"""Documents of a JSONL file as the Pile has it, plain or compressed, one at a time. Source: pile-ffn spec section 5.

The decompressor's own reader takes a file that was cut for one that has ended, so frames are followed here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.text.documents import Document
from trackyard.recipes.pile_ffn.text.streaming import MAX_RECORD

UNLABELLED = "unlabelled"
"""Component of documents whose source has no such field."""
CHUNK = 1 << 14
"""Bytes of the file that are read at a time. Small, because what they become is in memory: text that repeats itself is
a thousand times as long."""


def read_jsonl(path: Path, *, source: str | None = None) -> Iterator[Document]:
    """Documents of JSON lines, plain or as .zst or .gz: `text`, and the component in `meta.pile_set_name` if any.

    source: what documents name as their file, its name if not given. DataError for a damaged or cut file, and for a
    line that is no record with a text; documents before it are given.
    """
    import zstandard

    row = 0
    try:
        with path.open("rb") as file:
            for row, line in enumerate(_lines(_plain(file, path.suffix))):
                record = json.loads(line)
                text, meta = record["text"], record.get("meta") or {}
                if not isinstance(text, str):
                    raise TypeError(f"text is a {type(text).__name__}")
                component = meta.get("pile_set_name", UNLABELLED)
                yield Document.of(text, component=component, source=source or path.name, row=row)
    except (OSError, zstandard.ZstdError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            what=f"{path}, row {row}: {type(error).__name__}: {error}",
            why="documents of a study are JSON objects with a text, one a line, in UTF-8",
            fix=f"fetch or write {path.name} again; it is damaged, or is another format",
        ) from error


def _plain(file: BinaryIO, suffix: str) -> Iterator[bytes]:
    """The bytes of a file in pieces. ValueError if its last frame (.zst) or member (.gz) has no end."""
    import zstandard

    openers: dict[str, Callable[[], Any]] = {
        ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
        ".gz": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16),
    }
    chunks = iter(lambda: file.read(CHUNK), b"")
    if suffix not in openers:
        yield from chunks
        return
    frame = None
    for chunk in chunks:
        while chunk:
            frame = frame or openers[suffix]()
            yield frame.decompress(chunk)
            # Files that were compressed in parallel are frames one after another.
            chunk = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise ValueError("the file is cut: its last frame has no end")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that hold something. ValueError for one that would fill the memory."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
        if len(rest) > MAX_RECORD:
            raise ValueError(f"a line is longer than {MAX_RECORD:,} bytes")
    if rest.strip():
        yield rest

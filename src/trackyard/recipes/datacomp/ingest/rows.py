"""Rows of addresses and captions, as `metadata` writes them and `select` orders them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.errors import DataError

PATTERN = "rows-*.parquet"
BATCH_ROWS = 8192
ROWS = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("text", pa.string()),
        ("face_bboxes", pa.list_(pa.list_(pa.float64()))),
        ("sha256", pa.string()),
    ]
)
"""uid: name of a row. text: caption, empty where there is none. face_bboxes: [x0, y0, x1, y1] in shares of width and
height, null where nobody has looked. sha256: hex, of the bytes that the address once had, null if nobody says."""


def file_name(number: int) -> str:
    return f"rows-{number:05d}.parquet"


def order_key(seed: int, uid: str) -> bytes:
    """SHA-256(seed || uid), 32 bytes: rows are taken in the order of it. Source: theworld section 7, select."""
    return hashlib.sha256(f"{seed}{uid}".encode()).digest()


@contextmanager
def open_rows(path: Path, *, stage: str) -> Iterator[pq.ParquetFile]:
    """A file of rows; DataError if it is absent or damaged, also where the block finds that. stage: that makes it."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            what=f"{path} cannot be read: {error}",
            why="it says which addresses there are",
            fix=f"trackyard run datacomp {stage}",
        ) from error

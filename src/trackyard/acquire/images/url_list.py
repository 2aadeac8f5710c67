"""The addresses of an entry's images, read from the tables that the hub has of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.hub.fetch import read_record
from trackyard.acquire.images.fetch import UrlRow
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry
from trackyard.errors import DataError

BATCH_ROWS = 8192
SUFFIXES = (".parquet", ".jsonl")


def read_urls(entry: Entry, places: Places) -> Iterator[UrlRow]:
    """Every address of every table of the entry, in order of files and rows, repetitions included.

    A record may hold one address or a list of them; one without any cannot become a row, which the import counts.
    DataError if the tables were not fetched, cannot be read, or none of them has the column.
    """
    column, digests = entry.recipe.url_column, entry.recipe.sha256_column
    seen: list[str] = []
    found = False
    for source in entry.hub:
        fetched = read_record(source, places.hub)
        for file in fetched.contents:
            path = fetched.directory / file.path
            if path.suffix not in SUFFIXES:
                continue
            try:
                for names, records in _tables(path, column, digests):
                    seen = names
                    if column not in names:
                        continue
                    found = True
                    for record in records:
                        yield from _rows(record.get(column), record.get(digests or ""))
            except (OSError, ValueError, pa.ArrowException) as error:
                raise DataError(
                    what=f"{path} cannot be read: {error}",
                    why="addresses would be missing without notice",
                    fix=f"trackyard data fetch {entry.name}",
                ) from error
    if not found:
        raise DataError(
            what=f"no table of {entry.name} has a column {column!r}; the last one has {', '.join(seen) or 'no column'}",
            why="the addresses of its images are in that column",
            fix=f"correct recipe.url_column of {entry.name} in catalog/",
        )


def _tables(path: Path, *wanted: str | None) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """(columns of the file, some of its records with those that are wanted), in bounded memory."""
    if path.suffix == ".jsonl":
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"a line holds a {type(record).__name__}, not an object")
                yield list(record), [record]
        return
    with pq.ParquetFile(path, page_checksum_verification=True) as table:
        names = table.schema_arrow.names
        columns = [name for name in wanted if name in names]
        if not columns:
            yield names, []
            return
        for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False):
            yield names, batch.to_pylist()


def _rows(urls: Any, digests: Any) -> Iterator[UrlRow]:
    many = urls if isinstance(urls, list) else [urls]
    sums = digests if isinstance(digests, list) else [digests] * len(many)
    for url, digest in zip(many, sums, strict=True):
        if url:
            yield UrlRow(url, digest.hex() if isinstance(digest, bytes) else digest)

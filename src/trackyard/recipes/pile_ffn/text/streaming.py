"""The first records of a compressed JSONL file on the hub, read without fetching it all. Source: pile-ffn 5, 12."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trackyard.errors import DataError

CHUNK = 1 << 16
"""Bytes asked for at a time; what has been received beyond the last record was fetched for nothing."""
MAX_RECORD = 64_000_000
"""Longest record in bytes: a line without an end must not fill the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streamed:
    """records: the first ones of the file. fetched: compressed bytes received for them."""

    records: tuple[dict[str, Any], ...]
    fetched: int


def first_records(url: str, count: int, *, what: str) -> Streamed:
    """The first `count` records of the zstandard-compressed JSONL at `url`, by the hub's own session and login.

    what: names the file in errors. DataError if it does not answer, is not zstandard, holds a line that is no JSON
    object, or ends before `count` records.
    """
    import httpx2
    import zstandard
    from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

    found: list[dict[str, Any]] = []
    fetched = 0

    def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal fetched
        for chunk in chunks:
            fetched += len(chunk)
            yield chunk

    try:
        with get_session().stream("GET", url, headers=build_hf_headers(), timeout=30) as response:
            response.raise_for_status()
            for line in _lines(counted(response.iter_bytes(CHUNK)), zstandard.ZstdDecompressor().decompressobj()):
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"record {len(found) + 1} is a {type(record).__name__}")
                found.append(record)
                if len(found) == count:
                    break
    except (httpx2.HTTPError, zstandard.ZstdError, ValueError) as error:
        raise DataError(
            what=f"{what}: {len(found)} of {count} records could be read: {type(error).__name__}: {error}",
            why="training would meet the same at this place",
            fix="check the endpoint and the pinned revision of the entry in catalog/, then run the check again",
        ) from error
    if len(found) < count:
        raise DataError(
            what=f"{what} ends after {len(found)} records, {count} were to be read",
            why="the file is shorter than the source says",
            fix="check the pinned revision of the entry in catalog/",
        )
    return Streamed(records=tuple(found), fetched=fetched)


def _lines(chunks: Iterator[bytes], decompressor: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + decompressor.decompress(chunk)).split(b"\n")
        yield from (line for line in lines if line.strip())
        if len(rest) > MAX_RECORD:
            raise ValueError(f"a line is longer than {MAX_RECORD:,} bytes")
    if rest.strip():
        yield rest

"""The media that a record names: where their bytes are, how texts refer to them, and why they cannot be used."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackyard.acquire.importing.fields import FIELD_MISSING, checked_text, lookup
from trackyard.acquire.importing.mapping import ImportMapping
from trackyard.acquire.importing.mapping_fields import NUMBER, MediaField
from trackyard.acquire.importing.records import UnusableRecord
from trackyard.acquire.media import UnreadableMedia, probe_image, probe_video
from trackyard.row import Media

if TYPE_CHECKING:
    from trackyard.acquire.images.fetch import UrlImages

UNKNOWN_MARK = "text mentions media that the row lacks"
MEDIA_OUTSIDE = "media path outside the media folder"
MEDIA_MISSING = "media file missing"
MEDIA_DENIED = "media file cannot be read"
MEDIA_TOO_BIG = "media above 2 GB"
IMAGE_LOST = "image lost: "
SCALED = "points in pixels of an image that was scaled down"

MAX_MEDIA_BYTES = 2**31 - 1
"""Media of one row in bytes: what a reader of Parquet can hold in one value of a column."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One medium that a record names. number: that of its field, 0 without; position: 1-based among its kind."""

    source: MediaField
    number: int
    position: int
    value: Any
    name: str


def references_of(mapping: ImportMapping, record: Mapping[str, Any]) -> list[Reference]:
    """Media of a record in the order of the mapping. Raises UnusableRecord, as all functions here."""
    return list(_references(mapping, record))


def _references(mapping: ImportMapping, record: Mapping[str, Any]) -> Iterator[Reference]:
    positions: Counter[str] = Counter()
    for source in mapping.media:
        names = source.names()
        values = {number: value for number, name in names.items() if (value := lookup(record, name)) is not None}
        if not values:
            raise UnusableRecord(
                FIELD_MISSING, " and ".join(sorted({repr(names[min(names)]), repr(names[max(names)])}))
            )
        for number, value in values.items():
            for item in value if isinstance(value, list) else [value]:
                positions[source.kind] += 1
                yield Reference(source, number, positions[source.kind], item, names[number])


def plain_marks(mapping: ImportMapping, record: Mapping[str, Any]) -> Callable[[str], str]:
    """A function that turns every mark in a text into "image 2", set off by spaces from the words around it."""
    references = references_of(mapping, record)
    marked = [source for source in mapping.media if source.mark is not None]

    def plain(text: str) -> str:
        for source in marked:
            before, after = map(re.escape, (source.mark or "").split(NUMBER))
            text = re.sub(rf"{before}(\d+){after}", partial(_named, source=source, references=references), text)
        return text.strip()

    return plain


def _named(match: re.Match[str], *, source: MediaField, references: list[Reference]) -> str:
    number = int(match[1])
    found = next((item for item in references if item.source is source and item.number == number), None)
    if found is None:
        raise UnusableRecord(UNKNOWN_MARK, f"{match[0]!r}")
    left = " " if match.string[: match.start()][-1:].isalnum() else ""
    right = " " if match.string[match.end() :][:1].isalnum() else ""
    return f"{left}{source.kind} {found.position}{right}"


class MediaReader:
    """Bytes of references, from the media folder, the record itself, or the images fetched beforehand.

    exact: positions in pixels belong to the media, so an image that was scaled down when it was fetched is of no use.
    """

    def __init__(self, media_root: Path, images: UrlImages | None, *, exact: bool = False) -> None:
        self._root, self._images, self._exact = media_root, images, exact

    def read(self, references: Iterable[Reference]) -> Iterator[Media]:
        """The media, proved by decoding."""
        total = 0
        for reference in references:
            data, path = self._bytes_of(reference, MAX_MEDIA_BYTES - total)
            total += len(data)
            try:
                yield probe_image(data, path) if reference.source.kind == "image" else probe_video(data, path)
            except UnreadableMedia as error:
                raise UnusableRecord(error.reason, f"{reference.name!r}: {error.what}") from error

    def _bytes_of(self, reference: Reference, limit: int) -> tuple[bytes, str]:
        """(encoded bytes, path as the record names it) of a path, of bytes, or of {bytes, path}."""
        value, path = reference.value, reference.name
        if reference.source.origin == "url":
            if not checked_text(value, reference.name):
                raise UnusableRecord(FIELD_MISSING, f"{reference.name!r} is empty")
            return self._fetched(str(value), reference.name, limit)
        if isinstance(value, dict):
            path = checked_text(value.get("path") or reference.name, reference.name)
            value = path if value.get("bytes") is None else value["bytes"]
        if isinstance(value, bytes):
            if len(value) > limit:
                raise UnusableRecord(MEDIA_TOO_BIG, f"{reference.name!r}: {path}, {len(value):,} bytes")
            return value, path
        text = checked_text(value, reference.name)
        return self._inside(text, reference.name, limit), text

    def _fetched(self, url: str, name: str, limit: int) -> tuple[bytes, str]:
        if self._images is None:
            raise ValueError(f"the images that {name!r} names were not opened")
        from trackyard.acquire.images.fetch import Lost

        found = self._images.find(url)
        if isinstance(found, Lost):
            raise UnusableRecord(IMAGE_LOST + found.cause, url, expected=True)
        if len(found.bytes) > limit:
            raise UnusableRecord(MEDIA_TOO_BIG, f"{name!r}: {url}, {len(found.bytes):,} bytes")
        if self._exact and hashlib.sha256(found.bytes).hexdigest() != found.sha256:
            raise UnusableRecord(SCALED, f"{name!r}: {url} is stored as {found.width} x {found.height}")
        return found.bytes, url

    def _inside(self, text: str, name: str, limit: int) -> bytes:
        """The bytes of a file that lies, links followed, below the media root."""
        try:
            root = self._root.resolve()
            path = (root / text).resolve()
            if not path.is_relative_to(root):
                raise UnusableRecord(MEDIA_OUTSIDE, f"{name!r}: {text!r}")
            if not path.is_file():
                raise UnusableRecord(MEDIA_MISSING, f"{name!r}: {self._root / text}")
            if path.stat().st_size > limit:
                raise UnusableRecord(MEDIA_TOO_BIG, f"{name!r}: {text}, {path.stat().st_size:,} bytes")
            return path.read_bytes()
        except (OSError, RuntimeError, ValueError) as error:  # denied, a loop of links, a name with a zero byte
            raise UnusableRecord(MEDIA_DENIED, f"{name!r}: {text!r}: {error}") from error

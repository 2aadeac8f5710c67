"""One record of a source becomes one row, or the reason why it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackyard.acquire.importing.conversations import Conversation, conversations_of
from trackyard.acquire.importing.fields import FIELD_MISSING, OTHER_TYPE, checked_number, checked_text, lookup, present
from trackyard.acquire.importing.mapping import ImportMapping, Split
from trackyard.acquire.importing.records import UnusableRecord
from trackyard.acquire.importing.references import MediaReader, plain_marks, references_of
from trackyard.digest import digest_bytes
from trackyard.row import Media, Row

if TYPE_CHECKING:
    from trackyard.acquire.images.fetch import UrlImages

UNKNOWN_SPLIT = "split not in the mapping"
NOT_WANTED = "not wanted: "
HELD_OUT = "not wanted: held out for evaluation"
SEVERAL_MEDIA = "points on something else than one image"

GROUP_ID = 20
"""Hex characters of the address's digest in the id of a grouped row: a million images collide with odds of 1e-12."""


def split_of(mapping: ImportMapping, identity: str, record: Mapping[str, Any], file_split: Split | None) -> Split:
    """The split of a record: that of its file, by its field, or by the digest of its id, which no other row changes.

    Raises UnusableRecord, as all functions here.
    """
    if file_split is not None:
        return file_split
    if mapping.split_field is not None:
        value = checked_text(present(record, mapping.split_field), mapping.split_field)
        if value not in mapping.split_values:
            raise UnusableRecord(UNKNOWN_SPLIT, f"{mapping.split_field!r} is {value!r}")
        return mapping.split_values[value]
    drawn = int(digest_bytes(identity.encode())[:8], 16) / 2**32
    return "validation" if drawn < (mapping.validation_fraction or 0) else "train"


class Converter:
    """Rows of one mapping's records. held_out: digests of the values that no wanted record has."""

    def __init__(
        self,
        mapping: ImportMapping,
        *,
        media_root: Path,
        images: UrlImages | None = None,
        held_out: frozenset[bytes] = frozenset(),
    ) -> None:
        self._mapping, self._held_out = mapping, held_out
        in_pixels = mapping.points is not None and mapping.points.unit == "pixel"
        self._media = MediaReader(media_root, images, exact=in_pixels)

    def identity(self, number: int, record: Mapping[str, Any], prefix: str) -> str:
        """The id that the record brings, else one made of its number and the prefix of its file."""
        if self._mapping.id is None:
            return f"{prefix}-{number:06d}"
        identity = checked_text(present(record, self._mapping.id), self._mapping.id)
        if not identity:
            raise UnusableRecord(FIELD_MISSING, f"{self._mapping.id!r} is empty")
        return identity

    def key(self, record: Mapping[str, Any]) -> str:
        """The address that a grouped record shares with others."""
        name = self._mapping.group_by or ""
        return checked_text(present(record, name), name)

    def check_wanted(self, record: Mapping[str, Any]) -> None:
        """UnusableRecord, as expected, for a record that the mapping does not want."""
        for rule in self._mapping.keep:
            value = lookup(record, rule.field)
            if not rule.wants(value):
                shown = value if isinstance(value, (str, int, float, bool)) else type(value).__name__
                raise UnusableRecord(NOT_WANTED + rule.reason, f"{rule.field!r} is {shown!r:.80}", expected=True)
        held_out = self._mapping.held_out
        if held_out is not None and value_digest(lookup(record, held_out.field)) in self._held_out:
            raise UnusableRecord(HELD_OUT, f"{held_out.field!r} is listed by {held_out.entry}", expected=True)

    def conversations(self, record: Mapping[str, Any]) -> list[Conversation]:
        """What is said in a record; no file is read."""
        return conversations_of(self._mapping, record, plain_marks(self._mapping, record))

    def media(self, record: Mapping[str, Any]) -> tuple[Media, ...]:
        """The record's media, proved by decoding. Paths are checked before any medium is decoded."""
        return tuple(self._media.read(references_of(self._mapping, record)))

    def row(
        self, identity: str, record: Mapping[str, Any], said: Sequence[Conversation], media: tuple[Media, ...]
    ) -> Row:
        """The row of these conversations on these media."""
        meta: dict[str, Any] = {
            key: [conversation.meta.get(key) for conversation in said]
            for key in ("label", "options", "answer_index")
            if any(key in conversation.meta for conversation in said)
        }
        if self._mapping.points is not None:
            if [medium.kind for medium in media] != ["image"]:
                raise UnusableRecord(SEVERAL_MEDIA, f"{self._mapping.points.field!r}: the row has {len(media)} media")
            meta["points"] = [self._fractions(conversation, media[0]) for conversation in said]
        if self._mapping.clip is not None:
            meta["clip"] = _clip(present(record, self._mapping.clip), self._mapping.clip)
        if self._mapping.subtitle is not None:
            meta["subtitle"] = _subtitle(present(record, self._mapping.subtitle), self._mapping.subtitle)
        turns = tuple(conversation.turns for conversation in said)
        return Row(id=identity, task=self._mapping.task, media=media, conversations=turns, meta=meta)

    def _fractions(self, conversation: Conversation, image: Media) -> list[dict[str, Any]]:
        unit = self._mapping.points.unit if self._mapping.points is not None else "fraction"
        scale_x, scale_y = {
            "percent": (100, 100),
            "fraction": (1, 1),
            "pixel": (image.width, image.height),
        }[unit]
        return [
            {"media": 0, "t": 1.0, "id": number, "x": x / scale_x, "y": y / scale_y, "occluded": False}
            for number, (x, y) in enumerate(conversation.points or (), start=1)
        ]


def value_digest(value: Any) -> bytes:
    """16 bytes that stand for a value in a set of many."""
    return bytes.fromhex(digest_bytes(str(value).encode(errors="surrogatepass"))[:32])


def group_id(key: str, chunk: int) -> str:
    """Id of a row that several records share: of the first `group_limit` conversations, the second, and so on."""
    name = digest_bytes(key.encode())[:GROUP_ID]
    return f"image-{name}" if chunk == 0 else f"image-{name}-{chunk + 1}"


def _clip(value: Any, name: str) -> list[float]:
    if not isinstance(value, list) or len(value) != 2:
        raise UnusableRecord(OTHER_TYPE, f"{name!r} is not [start, end]")
    start, end = (checked_number(item, name) for item in value)
    if not 0 <= start < end:
        raise UnusableRecord(OTHER_TYPE, f"{name!r} is {start} to {end}")
    return [start, end]


def _subtitle(value: Any, name: str) -> list[list[Any]]:
    if not isinstance(value, list) or not all(isinstance(line, list) and len(line) == 3 for line in value):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} is not a list of [start, end, text]")
    return [
        [checked_number(start, name), checked_number(end, name), checked_text(text, name)] for start, end, text in value
    ]

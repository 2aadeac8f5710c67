"""One record of a source becomes one row, or the reason why it cannot."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from trackyard.acquire.mapping import NUMBER, ImportMapping, MediaField, Split
from trackyard.acquire.media import UnreadableMedia, probe_image, probe_video
from trackyard.acquire.records import INVALID_UTF8, UnusableRecord
from trackyard.digest import digest_bytes
from trackyard.row import Media, Row, Turn

FIELD_MISSING = "field missing"
OTHER_TYPE = "field of another type"
UNKNOWN_SPLIT = "split not in the mapping"
NO_QUESTION = "no question"
NO_ANSWER = "no answer"
NOT_AN_OPTION = "answer is not one of the options"
UNKNOWN_MARK = "text mentions media that the row lacks"
MEDIA_OUTSIDE = "media path outside the media folder"
MEDIA_MISSING = "media file missing"
MEDIA_DENIED = "media file cannot be read"
MEDIA_TOO_BIG = "media above 2 GB"

MAX_MEDIA_BYTES = 2**31 - 1
"""Media of one row in bytes: what a reader of Parquet can hold in one value of a column."""


def row_id(mapping: ImportMapping, number: int, record: Mapping[str, Any]) -> str:
    """The id that the record brings, else one made of its line number. Raises UnusableRecord, as all functions here."""
    if mapping.id is None:
        return f"line-{number:06d}"
    identity = _text(record, mapping.id)
    if not identity:
        raise UnusableRecord(FIELD_MISSING, f"{mapping.id!r} is empty")
    return identity


def split_of(mapping: ImportMapping, identity: str, record: Mapping[str, Any]) -> Split:
    """The split that a record belongs to: by its field, or by the digest of its id, which no other row can change."""
    if mapping.split_field is not None:
        value = _text(record, mapping.split_field)
        if value not in mapping.split_values:
            raise UnusableRecord(UNKNOWN_SPLIT, f"{mapping.split_field!r} is {value!r}")
        return mapping.split_values[value]
    drawn = int(digest_bytes(identity.encode())[:8], 16) / 2**32
    return "validation" if drawn < (mapping.validation_fraction or 0) else "train"


def convert(mapping: ImportMapping, identity: str, record: Mapping[str, Any], media_root: Path) -> Row:
    """The row of a record. Texts are checked before any file is read, paths before any medium is decoded."""
    references = list(_references(mapping, record))
    plain = _plain_marks(mapping, references)
    questions, answers, meta = _texts(mapping, record, plain)
    return Row(
        id=identity,
        task=mapping.task,
        media=tuple(_probed(references, media_root)),
        conversations=tuple(
            (Turn(role="user", content=question), Turn(role="assistant", content=answer))
            for question, answer in zip(questions, answers, strict=True)
        ),
        meta=meta,
    )


def _field(record: Mapping[str, Any], name: str) -> Any:
    value = record.get(name)
    if value is None:
        raise UnusableRecord(FIELD_MISSING, f"{name!r} is null" if name in record else f"{name!r} is absent")
    return value


def _checked(value: Any, name: str) -> str:
    """A text or number as text. JSON can smuggle in half a surrogate pair, which no UTF-8 file can hold."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} holds a {type(value).__name__}, not a text")
    text = str(value).strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableRecord(INVALID_UTF8, f"{name!r}: {error.reason}") from error
    return text


def _text(record: Mapping[str, Any], name: str) -> str:
    return _checked(_field(record, name), name)


def _texts_of(record: Mapping[str, Any], name: str) -> list[str]:
    value = _field(record, name)
    if not isinstance(value, list):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} holds a {type(value).__name__}, not a list of texts")
    return [_checked(item, name) for item in value]


def _texts(
    mapping: ImportMapping, record: Mapping[str, Any], plain: Callable[[str], str]
) -> tuple[list[str], list[str], dict[str, Any]]:
    """(user texts, assistant texts, meta), one entry per conversation."""
    if mapping.captions is not None:
        captions = [plain(text) for text in _texts_of(record, mapping.captions)]
        if not any(captions):
            raise UnusableRecord(NO_ANSWER, f"{mapping.captions!r} holds no text in {len(captions)} captions")
        return [mapping.prompt or ""] * len(captions), captions, {}
    question = mapping.prompt if mapping.question is None else plain(_text(record, mapping.question))
    if not question:
        raise UnusableRecord(NO_QUESTION, f"{mapping.question!r} is empty")
    name = mapping.answer or mapping.answer_letter or ""
    answer = "" if record.get(name) is None else _text(record, name)
    if not answer:
        raise UnusableRecord(NO_ANSWER, f"{name!r} is {'empty' if name in record else 'absent'}")
    if mapping.options is None:
        return [question], [plain(answer)], {}
    options = _texts_of(record, mapping.options)
    letters = list(ascii_uppercase[: len(options)])
    choices = letters if mapping.answer_letter is not None else options
    if answer not in choices:
        raise UnusableRecord(NOT_AN_OPTION, f"{answer!r} of {len(options)} options")
    meta = {"options": [[plain(option) for option in options]], "answer_index": [choices.index(answer)]}
    # The feed writes the answer from the options, in the form that the template it draws asks for.
    return [question], [""], meta


@dataclass(frozen=True, slots=True)
class _Reference:
    """One medium that a record names. number: that of its field, 0 without; position: 1-based among its kind."""

    source: MediaField
    number: int
    position: int
    value: Any
    name: str


def _references(mapping: ImportMapping, record: Mapping[str, Any]) -> Iterator[_Reference]:
    positions: Counter[str] = Counter()
    for source in mapping.media:
        names = source.names()
        present = {number: name for number, name in names.items() if record.get(name) is not None}
        if not present:
            raise UnusableRecord(
                FIELD_MISSING, " and ".join(sorted({repr(names[min(names)]), repr(names[max(names)])}))
            )
        for number, name in present.items():
            value = record[name]
            for item in value if isinstance(value, list) else [value]:
                positions[source.kind] += 1
                yield _Reference(source, number, positions[source.kind], item, name)


def _plain_marks(mapping: ImportMapping, references: list[_Reference]) -> Callable[[str], str]:
    """A function that turns every mark in a text into "image 2", set off by spaces from the words around it."""
    marked = [source for source in mapping.media if source.mark is not None]

    def plain(text: str) -> str:
        for source in marked:
            before, after = map(re.escape, (source.mark or "").split(NUMBER))
            text = re.sub(rf"{before}(\d+){after}", partial(_named, source=source, references=references), text)
        return text.strip()

    return plain


def _named(match: re.Match[str], *, source: MediaField, references: list[_Reference]) -> str:
    number = int(match[1])
    found = next((item for item in references if item.source is source and item.number == number), None)
    if found is None:
        raise UnusableRecord(UNKNOWN_MARK, f"{match[0]!r}")
    left = " " if match.string[: match.start()][-1:].isalnum() else ""
    right = " " if match.string[match.end() :][:1].isalnum() else ""
    return f"{left}{source.kind} {found.position}{right}"


def _probed(references: list[_Reference], media_root: Path) -> Iterator[Media]:
    total = 0
    for reference in references:
        data, path = _bytes_of(reference, media_root, MAX_MEDIA_BYTES - total)
        total += len(data)
        try:
            yield probe_image(data, path) if reference.source.kind == "image" else probe_video(data, path)
        except UnreadableMedia as error:
            raise UnusableRecord(error.reason, error.what) from error


def _bytes_of(reference: _Reference, media_root: Path, limit: int) -> tuple[bytes, str]:
    """(encoded bytes, path as the record names it) of a path, of bytes, or of {bytes, path}."""
    value, path = reference.value, reference.name
    if isinstance(value, dict):
        path = _checked(value.get("path") or reference.name, reference.name)
        value = path if value.get("bytes") is None else value["bytes"]
    if isinstance(value, bytes):
        if len(value) > limit:
            raise UnusableRecord(MEDIA_TOO_BIG, f"{path}: {len(value):,} bytes")
        return value, path
    text = _checked(value, reference.name)
    return _read_inside(media_root, text, limit), text


def _read_inside(media_root: Path, text: str, limit: int) -> bytes:
    """The bytes of a file that lies, links followed, below the media root."""
    try:
        root = media_root.resolve()
        path = (root / text).resolve()
        if not path.is_relative_to(root):
            raise UnusableRecord(MEDIA_OUTSIDE, repr(text))
        if not path.is_file():
            raise UnusableRecord(MEDIA_MISSING, str(media_root / text))
        if path.stat().st_size > limit:
            raise UnusableRecord(MEDIA_TOO_BIG, f"{text}: {path.stat().st_size:,} bytes")
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:  # denied, a loop of links, a name with a zero byte
        raise UnusableRecord(MEDIA_DENIED, f"{text!r}: {error}") from error

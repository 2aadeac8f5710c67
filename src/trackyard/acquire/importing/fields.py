"""Values of a record's fields, checked for what they are meant to be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trackyard.acquire.importing.records import INVALID_UTF8, UnusableRecord

FIELD_MISSING = "field missing"
OTHER_TYPE = "field of another type"
TEXT_TOO_LONG = "text above 1 million characters"
NOT_FINITE = "number that is not finite"

MAX_CHARACTERS = 1_000_000
"""Longest text of a conversation: a hundred times what fits into the longest sequence."""


def lookup(record: Mapping[str, Any], name: str) -> Any:
    """Value of a field, None where it is absent; "a.b" is b inside a, in every element where a is a list."""
    if name in record:
        return record[name]
    top, _, rest = name.partition(".")
    value = record.get(top)
    if not rest or value is None:
        return None
    if isinstance(value, list):
        return [lookup(item, rest) if isinstance(item, Mapping) else None for item in value]
    return lookup(value, rest) if isinstance(value, Mapping) else None


def present(record: Mapping[str, Any], name: str) -> Any:
    """Value of a field that must be there. Raises UnusableRecord, as all functions here."""
    value = lookup(record, name)
    if value is None:
        null = name in record
        there = "" if null else f"; there are {', '.join(map(str, list(record)[:12])) or 'none'}"
        raise UnusableRecord(FIELD_MISSING, f"{name!r} is null" if null else f"{name!r} is absent{there}")
    return value


def checked_text(value: Any, name: str) -> str:
    """A text or number as text. JSON can smuggle in half a surrogate pair, which no UTF-8 file can hold."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} holds a {type(value).__name__}, not a text")
    text = str(value).strip()
    if len(text) > MAX_CHARACTERS:
        raise UnusableRecord(TEXT_TOO_LONG, f"{name!r} holds {len(text):,}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnusableRecord(INVALID_UTF8, f"{name!r}: {error.reason}") from error
    return text


def checked_texts(value: Any, name: str) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} holds a {type(value).__name__}, not a list of texts")
    return [checked_text(item, name) for item in value]


def checked_number(value: Any, name: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} holds a {type(value).__name__}, not a number")
    if not math.isfinite(value):
        raise UnusableRecord(NOT_FINITE, f"{name!r} holds {value}")
    return float(value)

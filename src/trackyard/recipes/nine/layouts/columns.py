"""Types of columns that a reader relies on, and the error for a table whose columns are others.

Source: nine-datasets spec section 1; the builders of the origin and the cards of the hub's data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from trackyard.acquire.staging.columns import is_image_struct, is_list, is_text
from trackyard.errors import DataError


@dataclass(frozen=True, slots=True)
class Each:
    """A list."""

    of: Kind


@dataclass(frozen=True, slots=True)
class Fields:
    """A struct that has at least these fields."""

    of: Mapping[str, Kind]


@dataclass(frozen=True, slots=True)
class Either:
    """Any of several forms, by version of what built the table."""

    of: tuple[Kind, ...]


Kind = str | Each | Fields | Either
TEXT, INTEGER, NAME, IMAGE = "text", "integer", "text or integer", "image"
TEXTS = Each(TEXT)

_PLAIN = {
    TEXT: is_text,
    INTEGER: lambda kind: bool(pa.types.is_integer(kind)),
    NAME: lambda kind: is_text(kind) or bool(pa.types.is_integer(kind)),
    IMAGE: is_image_struct,
}


def fits(kind: Kind, stored: Any) -> bool:
    """Whether a column of the Arrow type `stored` can be read as `kind`."""
    if isinstance(kind, Each):
        return is_list(stored) and fits(kind.of, stored.value_type)
    if isinstance(kind, Fields):
        names = {field.name for field in stored} if pa.types.is_struct(stored) else set()
        return all(name in names and fits(inner, stored.field(name).type) for name, inner in kind.of.items())
    if isinstance(kind, Either):
        return any(fits(inner, stored) for inner in kind.of)
    return bool(_PLAIN[kind](stored))


def told(kind: Kind) -> str:
    """The kind in words."""
    if isinstance(kind, Each):
        return f"list of {told(kind.of)}"
    if isinstance(kind, Fields):
        return "struct of " + ", ".join(f"{name}: {told(inner)}" for name, inner in kind.of.items())
    if isinstance(kind, Either):
        return " or ".join(told(inner) for inner in kind.of)
    return kind


def require_columns(schema: Any, wanted: Mapping[str, Kind], *, where: str, entry: str) -> None:
    """DataError for the first column that `schema` lacks or holds as something else. where: the file, for the error."""
    for name, kind in wanted.items():
        number = schema.get_field_index(name)
        if number < 0:
            problem = f"no column {name!r} ({told(kind)}); it has {', '.join(schema.names)}"
        elif not fits(kind, schema.field(number).type):
            problem = f"the column {name!r} is {schema.field(number).type}, not {told(kind)}"
        else:
            continue
        raise DataError(
            what=f"{where}: {problem}",
            why=f"the questions of {entry}, or what they are scored by, could not be read",
            fix="stage the entry from a cache of the data set that catalog/nine.yaml names, "
            f"or leave {entry} out of nine.tasks in params.yaml",
        )

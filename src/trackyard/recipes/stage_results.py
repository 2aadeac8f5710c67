"""Results of stages, of any track: a header that says what was measured of what, a body, and a digest of both.

A file that was altered, copied under another name or is of another stage is refused, and not averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from trackyard.errors import DataError
from trackyard.sealed import read_sealed, write_sealed

H = TypeVar("H")


# Without slots: a generic class with them cannot be made under the name of one of its forms (Python 3.11).
@dataclass(frozen=True, kw_only=True)
class StageResult(Generic[H]):
    """header: of the track's own form."""

    header: H
    body: Mapping[str, Any]


def write_stage_result(path: Path, schema: str, header: Any, body: Mapping[str, Any]) -> None:
    """Write a result with keys in order. header: a dataclass. ValueError for NaN and infinities."""
    write_sealed(path, schema, {"header": asdict(header), "body": dict(body)})


def read_stage_result(path: Path, schema: str, header: TypeAdapter[H], *, fix: str) -> StageResult[H]:
    """DataError if the file is absent, of another schema, incomplete, or not what was written."""
    document = read_sealed(path, schema, fix=fix)
    try:
        return StageResult(header=header.validate_python(document["header"]), body=document["body"])
    except (ValidationError, KeyError) as error:
        raise DataError(
            what=f"{path} lacks or misstates a part of its header: {error}",
            why="it cannot be said what was measured",
            fix=fix,
        ) from error

"""Result files of the track: what each says of its origin, and a digest of itself.

Source: nine-datasets spec section 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trackyard.errors import DataError
from trackyard.sealed import read_sealed, write_sealed

DOCUMENT = "result.json"
PIPELINE = "pipelines/nine/dvc.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What every result file begins with.

    model: digest of the model that was evaluated, None before there is one. inputs: digest of each file that was read,
    by path. wall_s: seconds.
    """

    spec_digest: str
    git_commit: str
    image_digest: str
    libs: Mapping[str, str]
    model: str | None
    inputs: Mapping[str, str]
    device: str
    wall_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    header: Header
    body: Mapping[str, Any]


_HEADER = TypeAdapter(Header)


def write_result(path: Path, result: str, header: Header, body: Mapping[str, Any]) -> None:
    """Write a result with keys in order. ValueError for NaN and infinities, which are no results."""
    write_sealed(path, schema(result), {"header": asdict(header), "body": dict(body)})


def read_result(path: Path, result: str) -> Result:
    """DataError if the file is absent, of another stage, incomplete, or not what was written."""
    fix = f"make {path} again, the result of {result}: dvc repro {PIPELINE}:{result}"
    document = read_sealed(path, schema(result), fix=fix)
    try:
        return Result(header=_HEADER.validate_python(document["header"]), body=document["body"])
    except (ValidationError, KeyError) as error:
        raise DataError(
            what=f"{path} lacks or misstates a part of its header: {error}",
            why="it cannot be said what was measured",
            fix=fix,
        ) from error


def schema(result: str) -> str:
    return f"trackyard-nine-{result}/1"

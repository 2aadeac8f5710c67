"""Result files of the track: what each says of its origin, and a digest of itself.

Source: nine-datasets spec section 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from trackyard.recipes.stage_results import StageResult, read_stage_result, write_stage_result

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


Result = StageResult[Header]
_HEADER = TypeAdapter(Header)


def write_result(path: Path, result: str, header: Header, body: Mapping[str, Any]) -> None:
    """Write a result with keys in order. ValueError for NaN and infinities, which are no results."""
    write_stage_result(path, schema(result), header, body)


def read_result(path: Path, result: str) -> Result:
    """DataError if the file is absent, of another stage, incomplete, or not what was written."""
    return read_stage_result(
        path, schema(result), _HEADER, fix=f"make {path} again, the result of {result}: dvc repro {PIPELINE}:{result}"
    )


def schema(result: str) -> str:
    return f"trackyard-nine-{result}/1"

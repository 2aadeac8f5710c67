"""Result files of the track: what each says of its origin, and a digest of itself. Source: theworld spec section 13."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from trackyard.recipes.stage_results import StageResult, read_stage_result, write_stage_result

DOCUMENT = "result.json"
PIPELINE = "pipelines/datacomp/dvc.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """Names with revisions, `id@revision`; vae_digest: blake3 of the encoder's files, None before they are there."""

    gemma: str
    vae: str
    vae_digest: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What every result file begins with.

    cell: run or arm, `all`, or the stage itself where it is about neither. inputs: digest of each file that was read,
    by path. wall_s: seconds.
    """

    run_id: str
    spec_digest: str
    git_commit: str
    image_digest: str
    libs: Mapping[str, str]
    base: Base
    cell: str
    seed: int | None
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
        path, schema(result), _HEADER, fix=f"make {path} again, the result of {result}: dvc repro -f {PIPELINE}"
    )


def schema(result: str) -> str:
    return f"trackyard-datacomp-{result.replace('_', '-')}/1"

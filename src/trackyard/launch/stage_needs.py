"""What each stage needs, as `meta` of its dvc.yaml says, read without DVC.

`meta.needs` is one of `Need`; `meta.divided: true` marks a stage whose work can be done in parts (`--shard K/N`). DVC
keeps `meta` and ignores it (hpc spec section 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trackyard.errors import ConfigError
from trackyard.launch.sites import Need
from trackyard.parameters import Parameters, read_yaml

PIPELINE = "dvc.yaml"
IN_ROOT = ("molmo2", "all")
"""Tracks whose stages stand in the root's dvc.yaml; those of any other in pipelines/TRACK/."""
IN_IMAGE: frozenset[Need] = frozenset({"train", "gpu"})
"""Needs of stages that run in the site's image, and so depend on containers/image.lock.json."""


class StageMeta(Parameters):
    """`meta` of one stage."""

    needs: Need
    divided: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class StageNeed:
    """One stage, or one item of a matrix. address: as `dvc repro` takes it in the repository root."""

    address: str
    needs: Need
    divided: bool


def stage_meta(meta: Any, address: str) -> StageMeta:
    """`meta` of the stage `address`, as DVC or YAML gives it. ConfigError where it says no need, or another thing."""
    try:
        return StageMeta.model_validate({} if meta is None else meta)
    except ValidationError as error:
        told = " · ".join(f"meta.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(
            what=f"stage {address}: {told}",
            why="where a stage runs is decided by what it needs",
            fix=f"write `meta: {{needs: cpu}}` (or train, gpu, network) in {_file_of(address)}",
        ) from error


def need_of(root: Path, track: str, stage: str, item: str | None) -> StageNeed:
    """What `trackyard run TRACK STAGE [ITEM]` needs. ConfigError for what no dvc.yaml calls so."""
    file = PIPELINE if track in IN_ROOT else f"pipelines/{track}/{PIPELINE}"
    stages: Mapping[str, Any] = read_yaml(root / file).get("stages", {}) if (root / file).is_file() else {}
    for name, declared in stages.items():
        if str(declared.get("cmd", "")).split()[:4] != ["trackyard", "run", track, stage]:
            continue
        matrix = "matrix" in declared
        if matrix and item is None:
            break
        address = name if file == PIPELINE else f"{file}:{name}"
        meta = stage_meta(declared.get("meta"), address)
        # Another item than one of a matrix is a part of a stage, which has no address of its own.
        return StageNeed(address=f"{address}@{item}" if matrix else address, needs=meta.needs, divided=meta.divided)
    asked = " ".join([track, stage, *([item] if item else [])])
    raise ConfigError(
        what=f"no stage of {file} runs `trackyard run {asked}`",
        why=f"it has {', '.join(stages) or 'none'}; where a stage runs is decided by its entry there",
        fix="name a stage of `dvc stage list --all`; one that is listed as NAME@ITEM is about an item",
    )


def _file_of(address: str) -> str:
    file, _, _ = address.rpartition(":")
    return file or PIPELINE

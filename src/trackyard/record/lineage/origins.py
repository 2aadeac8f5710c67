"""What a run is made from, as a track gives it to be recorded: plan, data, weights it starts from, and its parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trackyard.record.identity import RunSpec
from trackyard.record.lineage.data import DataSet

NO_PLAN = "none"
"""`RunSpec.plan` of what no training made, such as a published model that is saved anew."""

Named = Literal["files", "revision", "making"]
"""How a specification names a model: by the blake3 of its weights, by id and revision, or by how it is made from its
seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartingModel:
    """Weights that a run starts from and that no run of ours has trained.

    id: of the hub, or the name of a made one; revision: of the hub, None where it has none. licence: None where nobody
    has stated one. directory: that `files` (blake3 by name) are relative to; None for what lies in the hub's cache of
    whoever verifies, or has no files because it is made from a seed whenever it is needed. restore: command that brings
    it.
    """

    id: str
    revision: str | None
    licence: str | None
    named: Named
    directory: Path | None
    restore: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """The export that a run starts from. directory: with its lineage.json. taken: names of the files that are read."""

    directory: Path
    taken: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origins:
    """All links of a run. root: of the repository, which places are recorded relative to. plan: its directory, None
    where the specification says NO_PLAN."""

    root: Path
    spec: RunSpec
    plan: Path | None
    snapshots: Mapping[str, DataSet]
    models: Mapping[str, StartingModel]
    parent: Parent | None

    @property
    def making(self) -> dict[str, Any]:
        """How a model that is made from a seed comes about."""
        return dict(self.spec.model)

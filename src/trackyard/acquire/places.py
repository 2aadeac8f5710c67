"""Where data lie on this machine: the hub's cache, the raw folder, the snapshots; and what room those places have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trackyard.errors import EnvironmentLacking

Place = Literal["hub", "raw", "data"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """hub: the cache of huggingface_hub, which `datasets` and transformers read too. raw: archives, images fetched by
    URL and sets taken by hand, a folder per entry. data: snapshots."""

    hub: Path
    raw: Path
    data: Path

    @classmethod
    def of(cls, root: Path, environment: Mapping[str, str] | None = None) -> Places:
        """hub: HF_HUB_CACHE, else HF_HOME/hub, else the hub's default. raw: TRACKYARD_RAW, else raw/."""
        environment = os.environ if environment is None else environment
        home = Path(
            environment.get("HF_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache/huggingface"
        )
        return cls(
            hub=Path(environment.get("HF_HUB_CACHE") or home / "hub"),
            raw=Path(environment.get("TRACKYARD_RAW") or root / "raw"),
            data=root / "data",
        )

    def path(self, place: Place) -> Path:
        """The directory of a place; it need not exist yet."""
        return {"hub": self.hub, "raw": self.raw, "data": self.data}[place]


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a file system has left for this user. device tells two file systems apart."""

    device: int
    free_bytes: int
    free_inodes: int | None
    """None where the file system does not count them (btrfs, some network file systems)."""


def room(path: Path) -> Room:
    """Room at `path`, or at the nearest parent that exists; EnvironmentLacking if that cannot be asked."""
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    try:
        found = os.statvfs(existing)
        device = existing.stat().st_dev
    except OSError as error:
        raise EnvironmentLacking(
            what=f"the room at {existing} cannot be asked: {error}",
            why=f"what lies below {path} must fit there",
            fix=f"make {existing} readable, or name another place",
        ) from error
    return Room(
        device=device, free_bytes=found.f_bavail * found.f_frsize, free_inodes=found.f_favail if found.f_files else None
    )

"""Whether what will be written fits where it goes, in bytes and in files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.places import room
from trackyard.errors import EnvironmentLacking


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """Room below a folder."""

    path: Path
    bytes: int
    files: int
    fix: str


def require_room(places: Sequence[Needed]) -> None:
    """EnvironmentLacking for the first place where bytes or files would not fit."""
    for needed in places:
        found = room(needed.path)
        if found.free_bytes < needed.bytes or (found.free_inodes is not None and found.free_inodes < needed.files):
            raise EnvironmentLacking(
                what=f"{needed.path}: {found.free_bytes:,} bytes and {found.free_inodes} inodes free, "
                f"{needed.bytes:,} and {needed.files:,} needed",
                why="a full disk stops the work in the middle",
                fix=needed.fix,
            )

"""Room for a build, looked at before it: an image that runs out of disk after half an hour says little about why."""

from __future__ import annotations

import shutil
from pathlib import Path

from trackyard.errors import EnvironmentLacking

TIMES = 3
"""Of the image, needed where it is unpacked and where it is written (hpc spec section 1.4)."""
FIRST = {"cpu": 1_500_000_000, "train": 12_000_000_000}
"""Bytes expected of an image that is not in the lock yet; for later builds it is the size of the locked one."""
UNKNOWN = 4_000_000_000
"""Bytes expected of an image that nothing is known about."""


def expected_bytes(name: str, locked: int | None) -> int:
    """Size of an image before it is built. locked: of its last build."""
    return locked or FIRST.get(name, UNKNOWN)


def require_space(name: str, expected: int, places: dict[str, Path]) -> None:
    """EnvironmentLacking naming each place that has less than TIMES the expected size. places: by what they are for."""
    short = {
        what: (path, shutil.disk_usage(path).free)
        for what, path in places.items()
        if shutil.disk_usage(path).free < TIMES * expected
    }
    if short:
        raise EnvironmentLacking(
            what=f"no room to build {name}: "
            + "; ".join(f"{what} {path} has {free / 1e9:.1f} GB free" for what, (path, free) in short.items()),
            why=f"an image of about {expected / 1e9:.1f} GB needs {TIMES * expected / 1e9:.1f} GB to be unpacked in",
            fix=f"free space, or name another place: trackyard image build {name} --tmp DIR",
        )

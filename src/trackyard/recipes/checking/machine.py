"""This machine, as the checks of a study ask it: packages, disk, accelerator. Source: pile-ffn spec section 12."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from trackyard.acquire.places import room
from trackyard.errors import EnvironmentLacking
from trackyard.launch.preflight import Seen


def dependencies(root: Path) -> Seen:
    """Every pin of the lock against what is installed."""
    pins = [line.split("==") for line in (root / "requirements.lock").read_text().splitlines() if "==" in line]
    wrong = []
    for name, version in pins:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "absent"
        if found.partition("+")[0] != version:
            wrong.append(f"{name} {found}, locked {version}")
    if wrong:
        raise EnvironmentLacking(
            what=f"{len(wrong)} of {len(pins)} packages are not as locked: {'; '.join(wrong[:5])}",
            why="results of another environment cannot be compared",
            fix="make setup",
        )
    return Seen(detail=f"{len(pins)} packages as locked", examined=len(pins))


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


LARGER_CACHE = "free space there, or set HF_HOME to a larger file system"
LARGER_CHECKOUT = "free space there, or work in a checkout on a larger file system"


def accelerator(*, needed: bool, device_bytes: int, smaller: str) -> Seen:
    """The GPUs that are visible, if any has to be, have the memory that training takes.

    smaller: command that names the smallest change that fits.
    """
    import torch

    count = torch.cuda.device_count()
    found = [
        (torch.cuda.get_device_name(number), torch.cuda.get_device_properties(number).total_memory)
        for number in range(count)
    ]
    if needed and count == 0:
        raise EnvironmentLacking(
            what="no GPU is visible",
            why="the configured stage needs one",
            fix="run the check on a GPU node, or check CUDA_VISIBLE_DEVICES and the driver",
        )
    too_small = [f"{name} with {memory:,} bytes" for name, memory in found if memory < device_bytes]
    if too_small:
        raise EnvironmentLacking(
            what=f"{too_small[0]}: training takes {device_bytes:,}",
            why="it would run out of memory in its first step",
            fix=f"{smaller} names the smallest change that fits; or use a larger GPU",
        )
    devices = ", ".join(f"{name} {memory / 1e9:.0f} GB" for name, memory in found)
    return Seen(detail=devices or "none visible, none needed", examined=1)

"""Room for images: looked at before a build, since one that runs out of disk after half an hour says little about why;
and what lies beside an image in a store."""

from __future__ import annotations

import math
import re
from pathlib import Path

from trackyard.acquire.places import room
from trackyard.errors import EnvironmentLacking

UNPACKED, WRITTEN = 6, 3
"""Times the image, needed where it is unpacked and where it is written. hpc spec section 1.4 has at least 3; a
cpu image of 1.006 GB holds 3.46 GB in blocks of 4 KiB, and its packages lie there twice more, as wheels."""
FIRST = {"cpu": 1_010_000_000, "train": 12_000_000_000}
"""Bytes expected of an image that is not in the lock yet; for later builds it is the size of the locked one."""
UNKNOWN = 4_000_000_000
"""Bytes expected of an image that nothing is known about."""
FILES_PER_GB = 110_000
"""Files and directories in 10^9 bytes of an image file: 110,143 were counted in a cpu image of 1.006 GB."""


def expected_bytes(name: str, locked: int | None) -> int:
    """Size of an image before it is built. locked: of its last build."""
    return locked or FIRST.get(name, UNKNOWN)


def require_space(name: str, expected: int, *, unpacked: Path, written: Path) -> None:
    """EnvironmentLacking naming each place that has less room than that takes, or too few inodes.

    unpacked: where the files of the image lie while it is built. written: where the image file will lie.
    """
    files = math.ceil(expected / 1e9 * FILES_PER_GB)
    short = [
        (said, fix)
        for said, fix in (
            (
                _short("where it is unpacked", unpacked, UNPACKED * expected, files),
                f"trackyard image build {name} --tmp DIR, or export APPTAINER_TMPDIR=DIR, a directory with that room",
            ),
            (
                _short("where it is written", written, WRITTEN * expected, 1),
                f"remove what nobody needs there: ls -lhS {written}",
            ),
        )
        if said
    ]
    if short:
        raise EnvironmentLacking(
            what=f"no room to build {name}: " + "; ".join(said for said, _ in short),
            why=f"an image of about {expected / 1e9:.1f} GB takes {UNPACKED} times its size to be unpacked in",
            fix="; ".join(fix for _, fix in short),
        )


def _short(what: str, path: Path, wanted: int, files: int) -> str:
    """What `path` lacks, or nothing. Inodes are asked for where the file system counts them."""
    found = room(path)
    lacking = []
    if found.free_bytes < wanted:
        lacking.append(f"{found.free_bytes / 1e9:.1f} GB free, {wanted / 1e9:.1f} GB needed")
    if found.free_inodes is not None and found.free_inodes < files:
        lacking.append(f"{found.free_inodes:,} inodes free, {files:,} needed")
    return f"{what}, {path}: {' and '.join(lacking)}" if lacking else ""


def others(folder: Path, name: str, file: str) -> list[Path]:
    """Files of the image `name` in a store, by path, but the locked `file`. Other checkouts may have locked them."""
    of_it = re.compile(re.escape(name) + r"-[0-9a-f]{12}\.sif")
    return sorted(path for path in folder.glob("*.sif") if of_it.fullmatch(path.name) and path.name != file)

"""Which file system a path lies on, and whether other machines write to it too. Source: pains 3, 7 and 14."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
SHARED = frozenset(
    ("nfs", "nfs3", "nfs4", "gpfs", "lustre", "beegfs", "fhgfs", "cifs", "smb3", "smbfs", "9p", "afs", "ceph",
     "fuse.ceph", "fuse.sshfs", "fuse.glusterfs", "glusterfs", "orangefs", "panfs", "pvfs2", "wekafs", "virtiofs")
)  # fmt: skip
"""Kinds of file systems that several machines see. Their locks, renames and memory maps are not a local disk's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One mounted file system. kind: as the kernel names it. options: of the mount, and of the file system."""

    point: Path
    kind: str
    options: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        return self.kind in SHARED


def mount_of(path: Path, table: Path = MOUNTS) -> Mount:
    """The mount that holds `path`, which need not exist yet. ValueError where the table lists no mount above it."""
    real = Path(os.path.realpath(path))
    found = None
    for line in table.read_text(errors="surrogateescape").splitlines():
        before, after = (half.split(" ") for half in line.split(" - ", 1))
        point = Path(_unescaped(before[4]))
        # Of mounts over each other the last one is seen.
        if real.is_relative_to(point) and (found is None or point.is_relative_to(found.point)):
            found = Mount(point=point, kind=after[0], options=(*before[5].split(","), *after[2].split(",")))
    if found is None:
        raise ValueError(f"{table} lists no mount above {real}")
    return found


def _unescaped(text: str) -> str:
    """Spaces, tabs, line ends and backslashes are octal in the table."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text

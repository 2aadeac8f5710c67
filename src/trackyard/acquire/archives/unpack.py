"""The one guarded unpacker, for tar (plain, gz, bz2, xz, zst) and zip.

Every member is checked before a byte of it is written, everything is written into a fresh folder, and that folder gets
its name when all of it is there. Python's own extraction trusts every member. Source: reliability spec F18, section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.archives.tar import unpack_tar
from trackyard.acquire.archives.tree import Progress, Tree
from trackyard.acquire.archives.tree import UnpackLimits as UnpackLimits
from trackyard.acquire.archives.zip import is_zip, unpack_zip
from trackyard.durable import atomic_directory
from trackyard.errors import ConfigError, DataError, EnvironmentLacking


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """files: regular files; bytes: of their contents."""

    files: int
    bytes: int


def unpack(
    archive: Path, target: Path, *, limits: UnpackLimits | None = None, progress: Progress | None = None
) -> Unpacked:
    """Unpack `archive` as the new folder `target`: all of it, or nothing under that name. The archive is kept.

    Files get the permissions of new files and the time of unpacking. Raises DataError naming archive and member
    (damaged, refused, above a limit), ConfigError if `target` exists, EnvironmentLacking if it cannot be written.
    """
    if not archive.is_file():
        raise DataError(
            what=f"{archive} is not a file",
            why=f"{target.name} is unpacked from it",
            fix="name the archive as it lies on the disk",
        )
    if target.exists():
        raise ConfigError(
            what=f"{target} exists already",
            why=f"{archive.name} would be mixed into what lies there",
            fix=f"`rm -r {target}` if it can go, or unpack to another place",
        )
    try:
        with atomic_directory(target) as fresh:
            tree = Tree(archive, fresh, limits or UnpackLimits(), progress)
            with tree.reading(None):
                zipped = is_zip(archive)
            (unpack_zip if zipped else unpack_tar)(archive, tree)
            if not tree.files:
                tree.refuse(None, "it holds no file", "an archive without files is not the one that is needed")
    except OSError as error:
        raise EnvironmentLacking(
            what=f"{archive.name} cannot be unpacked into {target.parent}: {error.strerror}",
            why="nothing of it was left there, and the archive is as it was",
            fix=f"make room below {target.parent} (`df -h -i {target.parent}`), or make it writable, and run it again",
        ) from error
    return Unpacked(files=tree.files, bytes=tree.bytes)

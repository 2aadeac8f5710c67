"""Where things are written: kind of file system, room, age on scratch. Source: pains 5 and 7, hpc spec section 7."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.places import room
from trackyard.errors import EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.mounts import MOUNTS, mount_of
from trackyard.launch.preflight import Seen, Skipped, Warned
from trackyard.launch.room import Needed, require_room
from trackyard.launch.sites import Storage
from trackyard.record.tracking.server import URI_VARIABLE, database, tracking_uri

VOLATILE = frozenset(("tmpfs", "ramfs"))
"""Kinds of file systems that lie in memory."""
SCAN_FILES = 20_000
SCAN_S = 1.0
"""A scan of scratch ends at the first of both."""
DAY_S = 86_400
PURGE_SHARE = 0.8
"""Of the age at which files are purged: older ones are told of."""


def runs_row(asked: Asked, table: Path = MOUNTS) -> Seen:
    """What runs/ lies on."""
    where = asked.root / "runs"
    mount = mount_of(where, table)
    if mount.kind in VOLATILE:
        raise Warned(
            what=f"runs/ lies on {mount.kind} at {mount.point}",
            why="checkpoints in memory are gone with the machine",
            fix="work in a checkout on a disk",
        )
    return Seen(
        detail=f"runs/ on {mount.kind} at {mount.point}{', shared by hosts' if mount.shared else ''}", examined=1
    )


def database_row(asked: Asked, table: Path = MOUNTS) -> Seen:
    """A SQLite database of runs lies on a local disk (pains 7)."""
    file = database(tracking_uri(asked.root, asked.environment))
    if file is None:
        raise Skipped("runs are tracked by a server")
    mount = mount_of(file, table)
    if mount.shared:
        raise EnvironmentLacking(
            what=f"the tracking database {file} lies on {mount.kind}, which several hosts mount",
            why='SQLite there ends with "locking protocol" errors, or with a damaged database',
            fix=f"export {URI_VARIABLE}=http://<server>:<port>, or sqlite:///<file on a disk of this host>; "
            "the spools in runs/ deliver everything to it: trackyard record sync",
        )
    return Seen(detail=f"{file} on {mount.kind}", examined=1)


def space_row(asked: Asked, table: Path = MOUNTS) -> Seen:
    """Free bytes and inodes of runs/, against what the stage writes there."""
    where = asked.root / "runs"
    found = room(where)
    inodes = "inodes are not counted" if found.free_inodes is None else f"{found.free_inodes:,} inodes"
    free = f"{_size(found.free_bytes)} and {inodes} free"
    if mount_of(where, table).shared:
        free += " of the whole file system, not of a quota"
    wanted = asked.wanted
    if wanted is None:
        return Seen(detail=f"{free}; not compared: no stage was named (--for TRACK/STAGE)", examined=1)
    require_room(
        (
            Needed(
                path=where,
                bytes=wanted.bytes,
                files=wanted.files or 0,
                fix="free space there, or work in a checkout on a larger file system; "
                f"trackyard estimate {wanted.name.replace('/', ' ')} says what takes it",
            ),
        )
    )
    files = "" if wanted.files is None else f" and {wanted.files:,} files"
    return Seen(detail=f"{free}; {wanted.name} keeps {_size(wanted.bytes)}{files} at once", examined=1)


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def scratch_row(asked: Asked, *, now: float | None = None) -> Seen:
    """The oldest access on scratch, against the age at which files are purged."""
    storage = asked.site.scratch
    if storage is None or storage.purged_after_days is None:
        raise Skipped(f"site {asked.site.name} purges nothing")
    where, days = _place(asked, storage), storage.purged_after_days
    found = scan(where)
    if found.examined == 0:
        raise Skipped(
            f"{where} holds no file" + ("" if found.whole else f" among what {SCAN_S:g} s of looking reached")
        )
    age = ((time.time() if now is None else now) - found.oldest) / DAY_S
    how_many = f"{found.examined:,} files examined{'' if found.whole else ', there are more'}"
    if "noatime" in mount_of(where).options:
        raise Warned(
            what=f"{where} is mounted noatime: when files were read last is not kept ({how_many})",
            why=f"files are purged {days} days after the last access, and nobody can see it coming",
            fix="keep nothing there alone: dvc push to a remote on project space",
        )
    if age > days * PURGE_SHARE:
        raise Warned(
            what=f"{found.path} was read last {age:.0f} days ago ({how_many})",
            why=f"site {asked.site.name} deletes files {days} days after the last access, without a warning",
            fix="dvc push what DVC knows, copy the rest to project space: trackyard data verify says what is lacking",
        )
    return Seen(detail=f"oldest access {age:.0f} of {days} days ago; {how_many}", examined=found.examined)


def _place(asked: Asked, storage: Storage) -> Path:
    named = asked.environment.get(storage.path_variable)
    if not named:
        raise EnvironmentLacking(
            what=f"{storage.path_variable} is not set",
            why=f"{asked.site_file} says that it holds the path of scratch",
            fix=f"run this on a machine of site {asked.site.name}, or export {storage.path_variable}=<directory>",
        )
    if not Path(named).is_dir():
        raise EnvironmentLacking(
            what=f"{storage.path_variable}={named} is no directory",
            why=f"{asked.site_file} says that it is scratch",
            fix=f"export {storage.path_variable}=<directory>",
        )
    return Path(named)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scanned:
    """oldest: the earliest access, seconds since 1970, of `path`. whole: whether no file was left out."""

    examined: int
    oldest: float
    path: Path
    whole: bool


def scan(where: Path, *, files: int = SCAN_FILES, seconds: float = SCAN_S) -> Scanned:
    """Access times of regular files below `where`; ends after so many files or seconds. Links are not followed."""
    until, count, oldest, path = time.monotonic() + seconds, 0, float("inf"), where
    for entry in _entries(where):
        folder = entry.is_dir(follow_symlinks=False)
        if time.monotonic() > until or (count == files and not folder):
            return Scanned(examined=count, oldest=oldest, path=path, whole=False)
        if folder:
            continue
        try:
            accessed = entry.stat(follow_symlinks=False).st_atime
        except (FileNotFoundError, PermissionError):
            continue
        count += 1
        if accessed < oldest:
            oldest, path = accessed, Path(entry.path)
    return Scanned(examined=count, oldest=oldest, path=path, whole=True)


def _entries(where: Path) -> Iterator[os.DirEntry[str]]:
    """Folders and regular files."""
    waiting = [str(where)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        yield entry
                    elif entry.is_file(follow_symlinks=False):
                        yield entry
        except (PermissionError, FileNotFoundError):
            # Not ours to read, so not ours to lose; or gone meanwhile.
            continue

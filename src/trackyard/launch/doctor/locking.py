"""Locks, really taken and released where they are used: below runs/, and by DVC. Source: pains 1 and 3."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import EnvironmentLacking
from trackyard.exclusive import LOCKS_VARIABLE, locks_in_force
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.doctor.dvc_settings import dvc_settings
from trackyard.launch.mounts import MOUNTS, Mount, mount_of
from trackyard.launch.preflight import Seen, Skipped, Warned
from trackyard.launch.unlocking import leftovers

ELSEWHERE = "work in a checkout on another file system"
DVC_SETTING = "dvc config --local core.hardlink_lock true"
_WHOLE_FILE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


_NOT_BETWEEN_HOSTS = {
    "lustre": ("localflock", "noflock"),
    "nfs": ("nolock", "local_lock=flock", "local_lock=all"),
    "nfs4": ("local_lock=flock", "local_lock=all"),
}
"""Options of mounts whose flock excludes processes of the same host only, or none (mount.lustre(8), nfs(5))."""
_UNSEEN = frozenset(("beegfs", "fhgfs"))
"""Kinds whose flock ends at the host unless a file of the client says otherwise (tuneUseGlobalFileLocks)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Works:
    """What excludes a second owner in a directory; each "" or why it does not."""

    flock: str
    fcntl: str
    link: str

    @property
    def named(self) -> str:
        ways = {"flock": self.flock, "fcntl": self.fcntl, "links": self.link}
        broken = [f"{way}: {problem}" for way, problem in ways.items() if problem]
        working = [way for way, problem in ways.items() if not problem]
        return "; ".join((f"{', '.join(working) or 'nothing'} work", *broken))


def locks_work(directory: Path) -> Works:
    """Take each kind of lock on a temporary file in `directory`, try to take it a second time, release it.

    EnvironmentLacking where no file can be made there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=directory) as made:
            return Works(
                flock=_tried(_flock, Path(made) / "flock"),
                fcntl=_tried(_fcntl, Path(made) / "fcntl"),
                link=_tried(_link, Path(made) / "link"),
            )
    except OSError as error:
        raise EnvironmentLacking(
            what=f"no file can be made in {directory}: {error.strerror}",
            why="runs, and whoever works on them, are written there",
            fix=f"make {directory} writable and free space on its file system",
        ) from error


def _tried(take: Callable[[Path], bool], path: Path) -> str:
    try:
        return "" if take(path) else "a second owner is let in"
    except OSError as error:
        return error.strerror or str(error)


def _flock(path: Path) -> bool:
    with open(path, "w") as first, open(path, "w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _refused(lambda: fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB))


def _fcntl(path: Path) -> bool:
    """The second attempt is by open file: that of a process would be let in by itself."""
    with open(path, "w") as first, open(path, "w") as second:
        fcntl.lockf(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _refused(lambda: fcntl.fcntl(second, fcntl.F_OFD_SETLK, _WHOLE_FILE))


def _link(path: Path) -> bool:
    path.write_text("")
    other = path.with_name("claimed")
    other.hardlink_to(path)
    return path.stat().st_nlink == 2 and _refused(lambda: other.hardlink_to(path))


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EEXIST):
            return True
        raise
    return False


def of_one_host(mount: Mount) -> bool:
    """Whether the flock of a mount ends at this host, as far as it tells; trying it here cannot show that."""
    return mount.kind in _UNSEEN or not {*_NOT_BETWEEN_HOSTS.get(mount.kind, ())}.isdisjoint(mount.options)


def runs_row(asked: Asked, probe: Callable[[Path], Works] = locks_work, table: Path = MOUNTS) -> Seen:
    """The locks of runs, builds and syncs, in the way that is in force."""
    where = asked.root / "runs"
    works, mount = probe(where), mount_of(where, table)
    if locks_in_force(asked.environment, unsaid=asked.site.locks) == "link":
        if works.link:
            raise EnvironmentLacking(
                what=f"runs/: {works.named}, and locks are to be hard links",
                why="two processes could work on one run at once",
                fix=ELSEWHERE if works.flock else f"unset {LOCKS_VARIABLE}; `locks: flock` in {asked.site_file}",
            )
        return Seen(detail=f"runs/: {works.named}; taken as hard links", examined=3)
    setting = f"export {LOCKS_VARIABLE}=link (and `locks: link` in {asked.site_file})"
    if works.flock:
        raise EnvironmentLacking(
            what=f"runs/: {works.named}",
            why="two processes could work on one run at once, so none is started",
            fix=ELSEWHERE if works.link else setting,
        )
    if of_one_host(mount) and asked.site.scheduler != "none":
        raise EnvironmentLacking(
            what=f"runs/: flock on {mount.kind} ({', '.join(mount.options)}) excludes processes of one host only",
            why="two nodes could work on one run at once",
            fix=setting,
        )
    return Seen(detail=f"runs/: {works.named}", examined=3)


def dvc_row(asked: Asked, probe: Callable[[Path], Works] = locks_work, table: Path = MOUNTS) -> Seen:
    """The locks that DVC takes, in the way that its settings say."""
    folder = asked.root / ".dvc"
    if not folder.is_dir():
        raise Skipped("there is no .dvc here")
    settings = dvc_settings(asked.root)
    works = probe(folder / "tmp")
    linked = bool(settings["core"].get("hardlink_lock", False))
    broken = works.link if linked else works.flock
    if broken:
        raise EnvironmentLacking(
            what=f".dvc/tmp: {works.named}, and DVC locks by {'hard link' if linked else 'flock'}",
            why='every `dvc` command, and so every job, ends with "Unable to acquire lock"',
            fix=_switch(asked.root, works, linked=linked),
        )
    if linked:
        _require_nothing_left(asked.root)
    if not linked and asked.site.locks == "link":
        raise EnvironmentLacking(
            what=f"{asked.site_file} says locks: link, and DVC locks by flock",
            why="the site's flock is not to be relied on, and two nodes could write DVC's files at once",
            fix=_switch(asked.root, works, linked=False),
        )
    if not linked and asked.site.scheduler != "none" and of_one_host(mount := mount_of(folder, table)):
        raise EnvironmentLacking(
            what=f".dvc: flock on {mount.kind} ({', '.join(mount.options)}) excludes processes of one host only",
            why="two nodes could write DVC's files at once",
            fix=_switch(asked.root, works, linked=False),
        )
    if works.fcntl:
        raise Warned(
            what=f".dvc/tmp: {works.named}",
            why="a SQLite database on this file system would fail with it, such as mlflow.db of the repository",
            fix="export MLFLOW_TRACKING_URI=http://<server>:<port>, or sqlite:///<file on a local disk>",
        )
    return Seen(detail=f".dvc/tmp: {works.named}; DVC locks by {'hard link' if linked else 'flock'}", examined=3)


def _require_nothing_left(root: Path) -> None:
    """A file of flock always stands in the way of links; a link may be somebody's, on another host too."""
    for left in leftovers(root):
        what = f"{left.path.relative_to(root)} is there: {left.owner}"
        if left.claim is None:
            raise EnvironmentLacking(
                what=what,
                why='DVC takes it for a lock that nobody releases, and ends with "Unable to acquire lock"',
                fix="trackyard unlock --remove",
            )
        if not left.living:
            raise Warned(
                what=what,
                why="a command on another host may be at work; if none is, every dvc command ends with "
                '"Unable to acquire lock"',
                fix="squeue --me; if no job of this repository runs: trackyard unlock --remove",
            )


def _switch(root: Path, works: Works, *, linked: bool) -> str:
    """To the other way of locking. What the one leaves behind the other takes for a lock."""
    if linked and not works.flock:
        return "dvc config --local core.hardlink_lock false"
    if not linked and not works.link:
        left = " && trackyard unlock --remove" if leftovers(root) else ""
        return f"{DVC_SETTING}{left}"
    return ELSEWHERE

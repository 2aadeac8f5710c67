"""Locks that DVC leaves behind: who holds them, as far as anybody can tell, and their removal on request (pains 3).

DVC's flock leaves a file and no lock. Its hard link is a lock for a year, and names nobody; a file that flock left
looks like such a link, so that DVC waits for it in vain. Locks of trackyard itself need none of this: see `leased`.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pwd import getpwuid

import psutil

from trackyard.errors import TrackyardError

NAMES = ("lock", "rwlock.lock")
"""Below .dvc/tmp."""
GRAPH_COMMANDS = frozenset(("submit", "retry", "work"))
"""Commands of trackyard that take DVC's lock themselves."""
DVC_LEASE = timedelta(days=365)
"""How far into the future DVC dates a link that it takes (dvc.lock)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """A lock file of DVC. owner: a sentence about who made it. living: processes that may hold it, one each."""

    path: Path
    owner: str
    living: tuple[str, ...]
    claim: Path | None
    """The file that a hard link was made from."""


def leftovers(root: Path) -> tuple[Leftover, ...]:
    """The lock files that stand in the way of DVC's hard links."""
    paths = [root / ".dvc" / "tmp" / name for name in NAMES]
    found = []
    for path in paths:
        # Not there, or released while it was looked at.
        with suppress(FileNotFoundError):
            found.append(_leftover(root, path))
    return tuple(found)


def remove_all(root: Path) -> list[Path]:
    """Remove the lock files that stand in the way; their paths. TrackyardError if one may be held: none is removed."""
    found = leftovers(root)
    for one in found:
        if one.living:
            raise TrackyardError(
                what=f"{one.path} is in use by {'; '.join(one.living)}",
                why="without its lock two commands of DVC would write the same files",
                fix="wait until that process ends, or stop it; then trackyard unlock --remove",
            )
    for one in found:
        one.path.unlink(missing_ok=True)
        if one.claim is not None:
            one.claim.unlink(missing_ok=True)
    return [one.path for one in found]


def _leftover(root: Path, path: Path) -> Leftover:
    text, found = path.read_text(errors="replace").strip(), path.stat()
    user, made = _user(found.st_uid), datetime.fromtimestamp(found.st_mtime, UTC)
    if text.endswith(".lock"):
        # DVC writes the path that its own host has; a file of flock holds a number, or nothing.
        living, claim = _commands(root, found.st_uid), path.parent / Path(text).name
        owner = f"a hard link of {user} since {_shown(made - DVC_LEASE)}, on a host that DVC does not write down"
    else:
        pid = int(text) if text.isdigit() else None
        living, claim = _flock_owner(path, pid, root, found.st_uid), None
        owner = f"a file of flock, made by {f'process {pid}' if pid else 'a process'} of {user}, {_shown(made)}"
    here = "; ".join(living) or "no command that locks is at work in this repository"
    return Leftover(
        path=path, owner=f"{owner}; on this host, {socket.gethostname()}: {here}", living=living, claim=claim
    )


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _user(number: int) -> str:
    try:
        return f"user {getpwuid(number).pw_name}"
    except KeyError:
        return f"user {number}"


def _flock_owner(path: Path, pid: int | None, root: Path, user: int) -> tuple[str, ...]:
    """Whoever holds the flock; where flock does not work, every command that might."""
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return (f"process {pid}",)
        except OSError:
            return _commands(root, user)
    return ()


def _commands(root: Path, user: int) -> tuple[str, ...]:
    """Processes of this host that lock in the repository as DVC does; another user's are not seen, so presumed."""
    if os.geteuid() not in (0, user):
        return (f"{_user(user)}, whose processes only that user sees: trackyard unlock is theirs to run",)
    found = []
    for process in psutil.process_iter():
        try:
            words, cwd = process.cmdline(), Path(process.cwd())
        except (psutil.Error, OSError):
            # It has ended, or belongs to a user who is not the lock's.
            continue
        if cwd.is_relative_to(root.resolve()) and process.pid != os.getpid() and _locks(words):
            found.append(f"process {process.pid}: {' '.join(words)}")
    return tuple(found)


def _locks(words: list[str]) -> bool:
    """Whether a command line is one of dvc, or one of trackyard that opens DVC's graph."""
    names = [Path(word).name for word in words[:5]]
    return "dvc" in names[:3] or ("trackyard" in names and not GRAPH_COMMANDS.isdisjoint(names))

"""This host's clock, against the file system's and against the time service."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.preflight import Seen, Warned

NOTED_S = 2.0
REFUSED_S = 10.0
"""What a lock on a lease allows two hosts to differ by (leased.CLOCKS_S)."""


def clock_row(asked: Asked, now: Callable[[], float] = time.time) -> Seen:
    """The date of a fresh file lies between the moments before and after it was made."""
    apart = _apart(asked.root / "runs", now)
    why = "leases of locks, ages of checkpoints and what DVC takes for unchanged are read from dates of files"
    fix = "chronyc makestep or timedatectl set-ntp true, by the operator of this host or of the file server"
    if apart > REFUSED_S:
        raise EnvironmentLacking(what=f"this host and the file system differ by {apart:.0f} s", why=why, fix=fix)
    if apart > NOTED_S:
        raise Warned(what=f"this host and the file system differ by {apart:.1f} s", why=why, fix=fix)
    known = _synchronised(asked)
    if known == "no":
        raise Warned(what="this host's clock is not synchronised", why=why, fix=fix)
    service = "synchronised" if known == "yes" else "whether it is synchronised nobody says here"
    return Seen(detail=f"equal to the file system's within {NOTED_S:g} s; {service}", examined=1)


def _apart(where: Path, now: Callable[[], float]) -> float:
    """Seconds."""
    try:
        where.mkdir(parents=True, exist_ok=True)
        before = now()
        with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=where) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
            made = os.fstat(file.fileno()).st_mtime
            after = now()
    except OSError as error:
        raise EnvironmentLacking(
            what=f"no file can be made in {where}: {error.strerror}",
            why="runs are written there",
            fix=f"make {where} writable and free space on its file system",
        ) from error
    return max(before - made, made - after, 0.0)


def _synchronised(asked: Asked) -> str:
    """yes or no; "" where nothing here knows."""
    try:
        done = asked.runner.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"], timeout_s=2.0)
    except TrackyardError:
        return ""
    said = done.stdout.strip()
    return said if done.exit_code == 0 and said in ("yes", "no") else ""

"""The interpreter, and every pin of the lock against what is installed."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from trackyard.errors import EnvironmentLacking
from trackyard.launch.preflight import Seen

PYTHON = (3, 11)
"""What requirements.lock is for."""
REINSTALL = "rm -f .venv/.stamp-* && make setup, then source .venv/bin/activate"
"""`make setup` alone does nothing where it has once ended and the lock is the same."""


def python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Seen:
    """The interpreter is of the version that packages are locked for."""
    shown = ".".join(map(str, version))
    if version[:2] != PYTHON:
        raise EnvironmentLacking(
            what=f"this is Python {shown}",
            why="requirements.lock holds the packages of Python 3.11; on another version others are installed",
            fix="rm -rf .venv && make setup PYTHON=python3.11",
        )
    return Seen(detail=f"Python {shown} at {sys.executable}", examined=1)


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
            fix=REINSTALL,
        )
    return Seen(detail=f"{len(pins)} packages as locked", examined=len(pins))

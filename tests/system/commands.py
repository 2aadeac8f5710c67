"""Whole commands in a repository, with the environment that these tests run in."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def environment() -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if not name.startswith(("TRACKYARD_", "MLFLOW_"))}
    values |= {"PATH": f"{BIN}{os.pathsep}{values['PATH']}", "DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1", "CI": "1"}
    return values


def run(
    argv: list[str], cwd: Path, *, check: bool = True, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """more: environment variables beside the usual ones."""
    done = subprocess.run(argv, cwd=cwd, env=environment() | (more or {}), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

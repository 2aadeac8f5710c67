"""The repository a command works in."""

from __future__ import annotations

from pathlib import Path

from trackyard.errors import ConfigError


def repository_root() -> Path:
    """The current directory, which must be the repository root (it holds params.yaml and dvc.yaml)."""
    here = Path.cwd()
    if not (here / "params.yaml").is_file():
        raise ConfigError(
            what=f"{here} is not the root of a trackyard repository",
            why="parameters, data and runs are found from there",
            fix="cd to the directory that holds params.yaml and run the command again",
        )
    return here

"""The repository a command works in."""

from __future__ import annotations

import os
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
    _lock_as_the_site_says(here)
    return here


def _lock_as_the_site_says(root: Path) -> None:
    """Where a site is chosen, its `locks` are in force, unless the environment names others."""
    if not os.environ.get("TRACKYARD_SITE"):
        return
    from trackyard.exclusive import LOCKS_VARIABLE
    from trackyard.launch.chosen import chosen_site

    site = chosen_site(root)
    if site is not None:
        os.environ.setdefault(LOCKS_VARIABLE, site.locks)

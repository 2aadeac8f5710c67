"""What DVC is configured to, as it reads it itself: the repository's file, the local one, the user's, the system's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from dvc.config import Config


def dvc_settings(root: Path) -> dict[str, Any]:
    """Sections by name, `core` and `remote` at least; paths of remotes are absolute. ConfigError if unreadable."""
    return {"core": {}, "remote": {}, **_read(root)}


def committed_settings(root: Path) -> dict[str, Any]:
    """Those of .dvc/config alone. ConfigError if any file is unreadable."""
    return dict(_read(root).load_one("repo"))


def _read(root: Path) -> Config:
    from dvc.config import Config
    from dvc.config import ConfigError as Unreadable

    try:
        return Config(str(root / ".dvc"))
    except Unreadable as error:
        raise ConfigError(
            what=f".dvc/config cannot be read: {error}",
            why="every `dvc` command reads it first",
            fix="correct .dvc/config or .dvc/config.local; `dvc config --list --show-origin` prints what is understood",
        ) from error

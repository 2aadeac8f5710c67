"""What DVC is configured to, as it reads it itself: the repository's file, the local one, the user's, the system's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trackyard.errors import ConfigError


def dvc_settings(root: Path) -> dict[str, Any]:
    """Sections by name, `core` and `remote` at least; paths of remotes are absolute. ConfigError if unreadable."""
    from dvc.config import Config
    from dvc.config import ConfigError as Unreadable

    try:
        found = Config(str(root / ".dvc"))
    except Unreadable as error:
        raise ConfigError(
            what=f".dvc/config cannot be read: {error}",
            why="every `dvc` command reads it first",
            fix="correct .dvc/config or .dvc/config.local; `dvc config --list --show-origin` prints what is understood",
        ) from error
    return {"core": {}, "remote": {}, **found}

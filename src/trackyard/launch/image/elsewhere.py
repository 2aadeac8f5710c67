"""What belongs to a checkout and lies outside of it: an image sees only what is bound, so links would lead nowhere."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.launch.image.entering import Bind

LINKS = ("data", "runs", "artifacts", "raw", ".dvc/cache")
"""Directories of a checkout that users put on another file system, by a link."""
CONFIGS = ("config", "config.local")
"""Of .dvc/; `cache.dir` of the second counts, as DVC reads them."""


def elsewhere(root: Path) -> tuple[Bind, ...]:
    """Directories outside of the checkout that its links and DVC's configuration lead to, where they are.

    Each is seen under its resolved path, and under the one that the link or the configuration has, if that is another.
    """
    found = (place for place in _places(root) if place.is_dir())
    seen = dict.fromkeys(target for place in found for target in (place, place.resolve()))
    return tuple(Bind(source=target.resolve(), target=target) for target in seen if not target.is_relative_to(root))


def _places(root: Path) -> Iterator[Path]:
    for name in LINKS:
        path = root / name
        if path.is_symlink():
            yield _absolute(path.parent, path.readlink())
    cache = None
    for name in CONFIGS:
        cache = _cache_of(root / ".dvc" / name) or cache
    if cache is not None:
        yield _absolute(root / ".dvc", Path(cache).expanduser())


def _absolute(folder: Path, path: Path) -> Path:
    """As the image reads it, to which the checkout is bound under its own path: `..` by its words."""
    return Path(os.path.normpath(folder / path))


def _cache_of(config: Path) -> str | None:
    """`cache.dir` of one file of DVC."""
    if not config.is_file():
        return None
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(config.read_text(encoding="utf-8"))
    except configparser.Error as error:
        raise ConfigError(
            what=f"{config}: {error}",
            why="it says where DVC's cache lies, which files of the checkout may be links to",
            fix=f"correct {config}; `dvc config --list` reads it",
        ) from error
    value = parser.get("cache", "dir", fallback="").strip("\"'")
    return value or None

"""Which container image this process runs in: its digest, from the environment that starts it, and its file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.record.image_lock import CONTAINERS, read_lock

IMAGE_VARIABLE = "TRACKYARD_IMAGE_DIGEST"
IMAGE_FILE_VARIABLE = "TRACKYARD_IMAGE"
"""Path of the image file, where it does not lie in containers/ as the lock says."""
NO_IMAGE = "none"
"""In headers of results that were made outside of an image."""
KIND = "sha256:"
"""How a digest of an image begins; 64 hex digits of the image file follow."""


def image_digest(environment: Mapping[str, str] | None = None) -> str | None:
    """None outside of an image. ConfigError for what is no digest: it would name the image of no file."""
    value = (os.environ if environment is None else environment).get(IMAGE_VARIABLE)
    if not value:
        return None
    if not re.fullmatch(rf"{KIND}[0-9a-f]{{64}}", value):
        raise ConfigError(
            what=f"{IMAGE_VARIABLE}={value!r}",
            why=f"the image is part of what identifies a run: {KIND} and the 64 hex digits of its file",
            fix=f"unset {IMAGE_VARIABLE}; `trackyard image exec NAME -- COMMAND` sets it",
        )
    return value


def find_image(repository: Path, digest: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """The file that should have a digest, found without reading a byte of it: whoever relies on it re-hashes it.

    digest: 64 hex digits, sha256. Where the lock has it: what IMAGE_FILE_VARIABLE names, if that has the locked size,
    else the locked file in containers/. Where it has not (an earlier image): what the variable names. None where there
    is no such file.
    """
    named = (os.environ if environment is None else environment).get(IMAGE_FILE_VARIABLE)
    path = Path(named) if named else None
    locked = next((one for one in read_lock(repository).images.values() if one.sif_sha256 == digest), None)
    if locked is None:
        return path if path is not None and path.is_file() else None
    if path is not None and path.is_file() and path.stat().st_size == locked.sif_bytes:
        return path
    here = repository / CONTAINERS / locked.file
    return here if here.is_file() else None

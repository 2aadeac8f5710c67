"""Which container image this process runs in: its digest, from the environment that starts it, and its file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

IMAGE_VARIABLE = "TRACKYARD_IMAGE_DIGEST"
IMAGE_FILE_VARIABLE = "TRACKYARD_IMAGE"
"""Path of the image file, where it does not lie in `IMAGES`."""
IMAGES = "containers/*.sif"
"""Of the repository."""
NO_IMAGE = "none"
"""In headers of results that were made outside of an image."""
KIND = "sha256:"
"""How a digest of an image begins; 64 hex digits of the image file follow."""


def image_digest() -> str | None:
    """None outside of an image."""
    return os.environ.get(IMAGE_VARIABLE)


def find_image(repository: Path, digest: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """The file of an image: what IMAGE_FILE_VARIABLE names, whatever its digest, else the one of `IMAGES` that has it.

    digest: 64 hex digits, sha256. None where there is no such file.
    """
    environment = os.environ if environment is None else environment
    named = environment.get(IMAGE_FILE_VARIABLE)
    if named:
        path = Path(named)
        return path if path.is_file() else None
    return next((path for path in sorted(repository.glob(IMAGES)) if _sha256(path) == digest), None)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

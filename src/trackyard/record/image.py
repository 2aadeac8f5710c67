"""Which container image this process runs in: its digest, from the environment that starts it."""

from __future__ import annotations

import os

IMAGE_VARIABLE = "TRACKYARD_IMAGE_DIGEST"
NO_IMAGE = "none"
"""In headers of results that were made outside of an image."""


def image_digest() -> str | None:
    """None outside of an image."""
    return os.environ.get(IMAGE_VARIABLE)

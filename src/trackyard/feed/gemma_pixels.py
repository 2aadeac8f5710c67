"""Encoded image to the input of Gemma 3's vision tower; the geometry is that of the world encoder (theworld spec 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackyard.feed.resized import decode_resized


def gemma_pixels(data: bytes, path: str, size: int) -> NDArray[np.float32]:
    """float32 [3, size, size] in [-1, 1], upright RGB, squashed with antialiasing. Raises UnreadableMedia."""
    planes = decode_resized(data, path, size, size).transpose(2, 0, 1).astype(np.float32)
    return np.ascontiguousarray(planes / np.float32(127.5) - np.float32(1))

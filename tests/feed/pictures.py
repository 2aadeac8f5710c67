"""Pictures that tests of decoding encode, and what becomes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageOps

from trackyard.acquire.media import UnreadableMedia


def soft(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture with as much fine detail as a photograph."""
    grid = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


@cache
def photograph() -> bytes:
    """A JPEG of 1024 x 768 with detail of every size, the less the finer, as photographs have it."""
    random, scene = np.random.default_rng(0), np.zeros((768, 1024, 3))
    for octave in range(1, 10):
        grid = random.integers(0, 256, (3 * 2**octave // 4, 2**octave, 3), dtype=np.uint8)
        scene += (np.asarray(Image.fromarray(grid).resize((1024, 768), Image.Resampling.BILINEAR)) - 128.0) * 2 ** (
            1 - octave
        )
    return encode(Image.fromarray(np.clip(scene + 128, 0, 255).astype(np.uint8)), quality=88)


def encode(image: Image.Image, fmt: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, fmt, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def outcome(data: bytes, way: Callable[[bytes, str], np.ndarray]) -> np.ndarray | str:
    """Pixels, or the reason for which there are none."""
    try:
        return way(data, "x")
    except UnreadableMedia as error:
        return error.reason

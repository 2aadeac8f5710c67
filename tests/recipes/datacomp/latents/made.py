"""The study's made encoder, once per process, and pictures as samples hold them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from tests.tiny_vaes import facts
from trackyard.digest import digest_bytes
from trackyard.models.world_encoders.encoder import WorldEncoder
from trackyard.recipes.datacomp.base.made_vae import make_vae
from trackyard.recipes.datacomp.scenes import draw, scene

SCENES = np.stack([draw(scene(1, number)) for number in range(24)])


@cache
def _directory() -> TemporaryDirectory[str]:
    """Removed when the process ends."""
    directory = TemporaryDirectory(prefix="made-vae-")
    make_vae(Path(directory.name), [draw(scene(0, number)) for number in range(24)])
    return directory


def made_folder() -> Path:
    return Path(_directory().name)


@cache
def made_encoder() -> WorldEncoder:
    return WorldEncoder.open(made_folder(), facts(made_folder(), 128))


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def stored(count: int) -> dict[str, bytes]:
    """Encoded scenes by digest."""
    found = (png(picture) for picture in SCENES[:count])
    return {digest_bytes(data): data for data in found}

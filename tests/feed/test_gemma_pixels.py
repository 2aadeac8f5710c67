"""Range and geometry of what Gemma's vision tower sees."""

import io

import numpy as np
from PIL import Image

from trackyard.feed.gemma_pixels import gemma_pixels


def encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def test_black_and_white_are_the_ends_of_the_range() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (20, 0, 40, 20))
    pixels = gemma_pixels(encoded(image), "halves", 16)
    assert (pixels.shape, pixels.dtype) == ((3, 16, 16), np.float32)
    assert pixels[:, :, 0].tolist() == np.full((3, 16), -1.0).tolist()
    assert pixels[:, :, -1].tolist() == np.full((3, 16), 1.0).tolist()


def test_what_is_transparent_is_white() -> None:
    assert gemma_pixels(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0))), "clear", 8).min() == 1.0

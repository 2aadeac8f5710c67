"""Flat shapes and large words with Pillow, without anti-aliasing: what is drawn fills exactly the box it is given."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trackyard.acquire.mini.draft import Box
from trackyard.row import Media

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 200, 30),
}
SHAPES = ("circle", "square", "triangle", "cross")
SQUARE = (64, 64)
WIDE = (112, 64)
TALL = (64, 112)


def paper(rng: np.random.Generator) -> Colour:
    """A light grey with a slight tint: it keeps two scenes with the same objects from being the same bytes."""
    red, green, blue = (int(c) for c in rng.integers(226, 245, size=3))
    return red, green, blue


def blank(size: tuple[int, int], background: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """A canvas of `size` (width, height) and the pen for it; text is drawn without anti-aliasing."""
    image = Image.new("RGB", size, background)
    pen = ImageDraw.Draw(image)
    pen.fontmode = "1"
    return image, pen


def draw_shape(pen: ImageDraw.ImageDraw, shape: str, box: Box, colour: Colour) -> None:
    """Fill one of SHAPES so that its extent is `box`; its centre is always inside it."""
    left, top, right, bottom = box[0], box[1], box[2] - 1, box[3] - 1
    if shape == "circle":
        pen.ellipse((left, top, right, bottom), fill=colour)
    elif shape == "square":
        pen.rectangle((left, top, right, bottom), fill=colour)
    elif shape == "triangle":
        middle = (left + right) // 2
        pen.polygon([(middle, top), (middle + 1, top), (right, bottom), (left, bottom)], fill=colour)
    else:
        arm = (right - left + 1) // 3
        pen.rectangle((left + arm, top, right - arm, bottom), fill=colour)
        pen.rectangle((left, top + arm, right, bottom - arm), fill=colour)


def draw_word(pen: ImageDraw.ImageDraw, word: str, at: tuple[int, int], *, size: int, colour: Colour) -> None:
    """Write `word` with its left end and vertical middle at `at`, in Pillow's bundled font at `size` pixels."""
    pen.text(at, word, fill=colour, font=ImageFont.load_default(size=size), anchor="lm")


def word_width(word: str, *, size: int) -> int:
    """Pixels that `draw_word` needs."""
    return round(ImageFont.load_default(size=size).getlength(word))


def png(image: Image.Image) -> Media:
    """Encode as an optimised PNG."""
    buffer = BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return Media(kind="image", data=buffer.getvalue(), path="", width=image.width, height=image.height)

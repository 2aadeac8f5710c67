"""Regions of SpatialRGPT-Bench drawn into their picture, so that both visual branches see the same.

Source: theworld spec section 12.1.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trackyard.errors import DataError
from trackyard.feed.decode import decode_rgb

Box = Sequence[float]
"""[x0, y0, x1, y1] in pixels."""
COLOURS = ((230, 30, 30), (30, 90, 230), (20, 160, 60), (240, 160, 0), (160, 40, 200), (0, 170, 190))
QUALITY = 95


def draw_regions(data: bytes, path: str, boxes: Sequence[Box]) -> bytes:
    """A JPEG of the picture with each box outlined and named "Region [0]" and so on.

    Corners outside of the picture are moved to its edge. DataError for a box without an area within it.
    """
    pixels = decode_rgb(data, path)
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    line = max(2, round(min(width, height) / 200))
    font = ImageFont.load_default(size=max(12, round(min(width, height) / 30)))
    corners = [_clamped(box, width, height, f"region [{number}] of {path}") for number, box in enumerate(boxes)]
    for number, corner in enumerate(corners):
        pen.rectangle(corner, outline=COLOURS[number % len(COLOURS)], width=line)
    # Names last: no outline crosses one.
    for number, (x0, y0, _, _) in enumerate(corners):
        name = f"Region [{number}]"
        left, top, right, bottom = pen.textbbox((0, 0), name, font=font)
        at = (min(x0, max(0, width - (right - left) - line)), max(0, y0 - (bottom - top) - 2 * line))
        ground = pen.textbbox(at, name, font=font)
        pen.rectangle(
            (ground[0] - line, ground[1] - line, ground[2] + line, ground[3] + line), fill=COLOURS[number % 6]
        )
        pen.text(at, name, fill=(255, 255, 255), font=font)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def _clamped(box: Box, width: int, height: int, name: str) -> tuple[int, int, int, int]:
    if len(box) == 4 and np.isfinite(box).all():
        x0, x1 = (int(np.clip(round(value), 0, width - 1)) for value in (box[0], box[2]))
        y0, y1 = (int(np.clip(round(value), 0, height - 1)) for value in (box[1], box[3]))
        if x0 < x1 and y0 < y1:
            return x0, y0, x1, y1
    raise DataError(
        what=f"{name} is {list(box)} in a picture of {width} x {height}",
        why="the question is about a region that cannot be shown",
        fix="compare the column `bbox` with the pictures: [x0, y0, x1, y1] in pixels is what is read",
    )

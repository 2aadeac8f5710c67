"""Faces that are made unrecognisable before an image is stored.

A box is [x0, y0, x1, y1] in shares of width and height, of the picture as it lies in its file: DataComp's boxes were
found in pictures that were decoded without regard to their orientation. Source: theworld section 7 (decode).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from PIL import Image, ImageFilter

Faces = tuple[tuple[float, ...], ...]
"""Boxes as a list of URLs gives them; whether each is one, `is_box` says."""

SPREAD = 0.1
"""Of a box's diagonal: by so much it is widened on each side, and so wide is the blur. Source: the faces of ImageNet,
arXiv:2103.06191, and img2dataset, with which DataComp is fetched."""
_ORIENTATION = 0x0112
"""EXIF tag."""


def is_box(box: Sequence[float]) -> bool:
    """Four finite numbers, the first corner above and left of the second, and some of it within the picture.

    A detector may look beyond the edge, so what lies outside is cut off.
    """
    if len(box) != 4 or not all(map(math.isfinite, box)):
        return False
    x0, y0, x1, y1 = box
    return x0 < x1 and y0 < y1 and x0 < 1 and y0 < 1 and x1 > 0 and y1 > 0


def text_of(faces: Faces) -> str:
    """Boxes as they are pinned and sent; empty for none. Numbers that are none ("NaN") survive."""
    return json.dumps(faces, separators=(",", ":")) if faces else ""


def faces_of(text: str | None) -> Faces:
    """The boxes of `text_of`."""
    return tuple(tuple(float(number) for number in box) for box in json.loads(text)) if text else ()


def orientation(header: Image.Image) -> int:
    """1 to 8, how a picture is turned before it is shown."""
    return int(header.getexif().get(_ORIENTATION, 1))


def as_shown(box: Sequence[float], turned: int) -> tuple[float, float, float, float]:
    """Where a box of the file lies in the picture as it is shown. Source: EXIF 2.3, tag 274."""
    x0, y0, x1, y1 = box
    if turned in (5, 6, 7, 8):
        x0, y0, x1, y1 = y0, x0, y1, x1
    if turned in (2, 3, 6, 7):
        x0, x1 = 1 - x1, 1 - x0
    if turned in (3, 4, 7, 8):
        y0, y1 = 1 - y1, 1 - y0
    return x0, y0, x1, y1


def blur(image: Image.Image, faces: Sequence[Sequence[float]]) -> Image.Image:
    """A copy with its faces blurred. image: L or RGB; faces: boxes of the picture as it is given here."""
    blurred = image.copy()
    for x0, y0, x1, y1 in faces:
        left, right = max(0.0, x0) * image.width, min(1.0, x1) * image.width
        top, bottom = max(0.0, y0) * image.height, min(1.0, y1) * image.height
        spread = SPREAD * math.hypot(right - left, bottom - top)
        box = (
            max(0, math.floor(left - spread)),
            max(0, math.floor(top - spread)),
            min(image.width, math.ceil(right + spread)),
            min(image.height, math.ceil(bottom + spread)),
        )
        part = blurred.crop(box).filter(ImageFilter.GaussianBlur(max(1.0, spread)))
        blurred.paste(part, box)
    return blurred

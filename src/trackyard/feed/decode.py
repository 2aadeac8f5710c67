"""Encoded image to RGB pixels: JPEG by libjpeg-turbo, everything else by Pillow.

`decode_rgb` gives the pixels that Pillow gives, bit for bit: both run libjpeg-turbo's accurate transform and smooth
upsampling, but Pillow copies through its own rows. Sources: molmo2 spec section 5, reliability spec F16.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from trackyard.acquire.media import check_size, image_header

Pixels = NDArray[np.uint8]

_EIGHTHS = 6
"""Largest scale, in eighths, that is worth decoding at: at 7/8 the transform costs more than the resize saves."""

_COLOURS = frozenset(("YCbCr", "RGB", "Gray"))
"""What libjpeg-turbo turns into RGB by itself; CMYK in its two forms is Pillow's."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns the stored picture upright, by EXIF orientation; 1 and everything unknown stay."""

_SIDEWAYS = frozenset((5, 6, 7, 8))


def decode_rgb(data: bytes, path: str) -> Pixels:
    """Decode to uint8 [h, w, 3] RGB, EXIF orientation applied, transparency on white. Raises UnreadableMedia."""
    return decode_covering(data, path, (0, 0))


def decode_covering(data: bytes, path: str, covering: tuple[int, int]) -> Pixels:
    """Decode to uint8 [h, w, 3] RGB, upright; scaled down as far as decoding can and `covering` allows.

    covering: (height, width) that the upright result must have at least; (0, 0) decodes at full size. Raises
    UnreadableMedia.
    """
    pixels = _turbo(data, path, covering)
    if pixels is not None:
        return pixels
    with image_header(data, path) as image:
        image.load()
        return _turned(_to_rgb(image), _orientation(image))


def _turbo(data: bytes, path: str, covering: tuple[int, int]) -> Pixels | None:
    """`decode_covering` for a JPEG in colours of its own or grey that is in order; None for everything else."""
    if not data.startswith(b"\xff\xd8"):
        return None
    try:
        stored_height, stored_width, colours, _ = simplejpeg.decode_jpeg_header(data)
        check_size(int(stored_width), int(stored_height), path)
        if colours not in _COLOURS:
            return None
        orientation = 1
        if _may_turn(data):
            with image_header(data, path) as image:
                orientation = _orientation(image)
        height, width = reversed(covering) if orientation in _SIDEWAYS else covering
        if max(height / int(stored_height), width / int(stored_width)) * 8 > _EIGHTHS:
            height = width = 0
        return _turned(simplejpeg.decode_jpeg(data, min_height=height, min_width=width), orientation)
    except (ValueError, KeyError):
        # The least irregularity ends here. What is still a picture, and why it is not, is decided by Pillow alone, as
        # it was when the row was imported.
        return None


def _may_turn(data: bytes) -> bool:
    """Whether a JPEG has a segment in which EXIF or XMP may state an orientation (APP1), or cannot be walked through.

    Takes microseconds; Pillow's parsing takes a tenth of a scaled decode.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xE1, 0xFF):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[at : at + 2] != b"\xff\xda"  # where the picture itself begins


def _to_rgb(image: Image.Image) -> Pixels:
    """Any mode to RGB. Transparency goes onto white, as in the stock processor."""
    if image.mode.startswith("I;16"):
        # PIL clips 16-bit grey at 255, which turns a scan white; the high byte is the picture.
        high = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(high[:, :, None], 3, axis=2)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation that is still to be applied: Pillow turns a TIFF as it loads it, and then forgets the number."""
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in _UPRIGHT else 1


def _turned(picture: Pixels, orientation: int) -> Pixels:
    if orientation == 1:
        return picture
    return np.asarray(Image.fromarray(picture).transpose(_UPRIGHT[orientation]))

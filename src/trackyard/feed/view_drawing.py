"""Pictures of what the model is given: its own patches put together again, and the attention mask of a pack.

Nothing is decoded a second time. A wrong rotation, crop or frame is therefore visible. Source: molmo2 spec sections 5,
6 and 8.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trackyard.feed.geometry import Tiling, VisionGeometry
from trackyard.feed.tree import PADDING_EXAMPLE, Flags, Ints
from trackyard.feed.visibility import Visibility

IMAGE_PIXELS = 760
"""Longest side of an image on the page."""
FRAME_PIXELS = 240
"""Longest side of a video frame on the page."""
LOSSLESS = 128 * 128
"""Pixels up to which a picture is stored as it is."""
QUALITY = 86

MASK_CELLS = 256
"""Cells per side of the picture of a mask, at most."""
ROW_COLOURS = ("#3d7edb", "#d97f2a", "#2f9d6d", "#a957c4", "#cc5151", "#1f98ad", "#93801f", "#7076dd")
"""Rows of a pack, in order and again."""
PADDING_COLOUR = "#8a8f98"
_FAINT = 0x66
"""Opacity of what a row attends causally; what lies above the diagonal is drawn solid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """Where a high-resolution crop lies on its image, as fractions of width and height."""

    left: float
    top: float
    width: float
    height: float


def crops_of(patches: NDArray[np.uint8], geometry: VisionGeometry) -> NDArray[np.uint8]:
    """Put patches together: uint8 [n, patches, patch * patch * 3] to [n, side, side, 3]; undoes `resize.patches_of`."""
    count, side, patch = len(patches), geometry.crop_patches, geometry.patch_size
    blocks = patches.reshape(count, side, side, patch, patch, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(blocks.reshape(count, side * patch, side * patch, 3))


def canvas_of(patches: NDArray[np.uint8], tiling: Tiling, geometry: VisionGeometry) -> NDArray[np.uint8]:
    """The stretched image that the crops were cut from, uint8 [canvas height, canvas width, 3]."""
    canvas = np.zeros((tiling.canvas_height, tiling.canvas_width, 3), dtype=np.uint8)
    step, side = geometry.step_patches * geometry.patch_size, geometry.crop_size
    # The global view comes first in the patches.
    for number, crop in enumerate(crops_of(patches[1:], geometry)):
        top, left = number // tiling.cols * step, number % tiling.cols * step
        canvas[top : top + side, left : left + side] = crop
    return canvas


def crop_frames(tiling: Tiling, geometry: VisionGeometry) -> list[Crop]:
    """The high-resolution crops of an image, row by row; neighbours overlap by their margins."""
    step, side = geometry.step_patches * geometry.patch_size, geometry.crop_size
    return [
        Crop(
            left=col * step / tiling.canvas_width,
            top=row * step / tiling.canvas_height,
            width=side / tiling.canvas_width,
            height=side / tiling.canvas_height,
        )
        for row in range(tiling.rows)
        for col in range(tiling.cols)
    ]


def picture_uri(pixels: NDArray[np.uint8], longest: int) -> str:
    """A data URI of uint8 [h, w, 3], made smaller where a side exceeds `longest`; small ones keep every pixel."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    if image.width * image.height <= LOSSLESS:
        image.save(written, "PNG", optimize=True)
        return _uri("image/png", written)
    image.save(written, "JPEG", quality=QUALITY, optimize=True)
    return _uri("image/jpeg", written)


def _uri(kind: str, written: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(written.getvalue()).decode()}"


def mask_cells(segments: Ints, examples: Ints, visual: Flags) -> Flags:
    """The mask of a pack [length] by cells, bool [side, side], side <= MASK_CELLS: True where one of its pairs is."""
    cells: Flags = Visibility.of(segments, examples, visual).block_pairs(_cell(len(segments)))[0] > 0
    return cells


def _cell(length: int) -> int:
    """Tokens per side of a cell."""
    return -(-length // MASK_CELLS)


def mask_uri(segments: Ints, examples: Ints, visual: Flags) -> str:
    """A PNG of the mask, queries downwards, keys to the right, transparent where nothing is attended."""
    cells = mask_cells(segments, examples, visual)
    colours = np.array([_rgb(colour) for colour in (*ROW_COLOURS, PADDING_COLOUR)], dtype=np.uint8)
    owner = examples[:: _cell(len(segments))]
    colour = colours[np.where(owner == PADDING_EXAMPLE, len(ROW_COLOURS), owner % len(ROW_COLOURS))]
    pixels = np.zeros((*cells.shape, 4), dtype=np.uint8)
    pixels[..., :3] = colour[:, None, :]
    pixels[..., 3] = np.where(cells, np.where(np.tri(len(cells), dtype=np.bool_), _FAINT, 0xFF), 0)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG", optimize=True)
    return _uri("image/png", written)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)

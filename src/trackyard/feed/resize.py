"""Bilinear resizing without antialiasing and cutting into patches, in NumPy; equal to the stock processor's.

Half-pixel centres, edges repeated, float32 arithmetic, rounding half to even. Source: molmo2 spec section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BLOCK = 16_000
"""Values of the result that are computed at a time: their float32 intermediates stay in a core's cache."""


@dataclass(frozen=True, slots=True)
class _Taps:
    """Where each value of a result comes from.

    rows: source rows that are used at all. upper, lower: for each row of the result, its two among them; below: the
    weight of the lower one, float32 [height, 1]. left, right: for each value of a row of the result, its two in a row
    of the source; beside: the weight of the right one, float32 [width * 3].
    """

    rows: NDArray[np.intp]
    upper: NDArray[np.intp]
    lower: NDArray[np.intp]
    below: NDArray[np.float32]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    beside: NDArray[np.float32]


def _taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `target` positions: the lower and upper source index and the weight of the upper one."""
    # The scale is a float32 in torch; the product and the half are fused there, which float64 reproduces.
    scale = float(np.float32(source) / np.float32(target))
    centres = np.maximum((np.arange(target) + 0.5) * scale - 0.5, 0).astype(np.float32)
    lower = np.minimum(centres.astype(np.intp), source - 1)
    weight = np.clip(centres - lower.astype(np.float32), 0, 1).astype(np.float32)
    return lower, np.minimum(lower + 1, source - 1), weight


@lru_cache(maxsize=16)
def _taps_of(source: tuple[int, int], height: int, width: int) -> _Taps:
    """The frames of a video ask for the same again and again."""
    top, bottom, below = _taps(source[0], height)
    left, right, beside = _taps(source[1], width)
    rows, where = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    channels = np.arange(3)
    return _Taps(
        rows=rows,
        upper=where[:height],
        lower=where[height:],
        below=below[:, None],
        left=(left[:, None] * 3 + channels).ravel(),
        right=(right[:, None] * 3 + channels).ravel(),
        beside=np.repeat(beside, 3),
    )


def resize_bilinear(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Stretch a uint8 [h, w, 3] image to [height, width, 3]; the aspect is not kept.

    torch's own result depends on its number of threads where a value lies within float32 error of a half (about one
    value in 10^5 at photograph sizes, by one level); everywhere else the two are equal.
    """
    if image.shape[:2] == (height, width):
        return image
    taps = _taps_of((image.shape[0], image.shape[1]), height, width)
    above, aside = np.float32(1) - taps.below, np.float32(1) - taps.beside
    lines, values = image.reshape(len(image), -1), width * 3
    result = np.empty((height, values), dtype=np.uint8)
    step = max(1, _BLOCK // values)
    # Result rows of a block need neighbouring source rows only, and at most two each.
    taken = np.empty((2 * step, values), dtype=np.uint8)
    mixed, other = (np.empty((2 * step, values), dtype=np.float32) for _ in range(2))
    for start in range(0, height, step):
        stop = min(start + step, height)
        first, last = taps.upper[start], taps.lower[stop - 1]
        rows, count = lines[taps.rows[first : last + 1]], last + 1 - first
        bytes_, left, right = taken[:count], mixed[:count], other[:count]
        # Indices are in range; "clip" only spares the check of each.
        np.multiply(rows.take(taps.left, axis=1, out=bytes_, mode="clip"), aside, out=left)
        np.multiply(rows.take(taps.right, axis=1, out=bytes_, mode="clip"), taps.beside, out=right)
        left += right
        block, lower = left.take(taps.upper[start:stop] - first, axis=0), other[: stop - start]
        left.take(taps.lower[start:stop] - first, axis=0, out=lower, mode="clip")
        block *= above[start:stop]
        lower *= taps.below[start:stop]
        block += lower
        # A mean of bytes with weights that sum to one stays within 0 and 255 once it is rounded.
        result[start:stop] = np.rint(block, out=block)
    return result.reshape(height, width, 3)


def patches_of(crops: NDArray[np.uint8], patch_size: int) -> NDArray[np.uint8]:
    """Cut uint8 [n, side, side, 3] into patches, uint8 [n, patches, patch * patch * 3].

    Patches in row-major order; inside a patch rows, columns, channels. They become numbers in [-1, 1] on the model's
    device (`models.pixels`): a quarter of the bytes to hand over, and no work for the feed.
    """
    count, height, width, channels = crops.shape
    rows, cols = height // patch_size, width // patch_size
    blocks = crops.reshape(count, rows, patch_size, cols, patch_size, channels).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(blocks).reshape(count, rows * cols, patch_size * patch_size * channels)

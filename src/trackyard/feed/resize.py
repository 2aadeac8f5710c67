"""Bilinear resizing without antialiasing and cutting into patches, in NumPy; equal to the stock processor's.

Half-pixel centres, edges repeated, float32 arithmetic, rounding half to even. Source: molmo2 spec section 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEVELS = (np.arange(256, dtype=np.float32) - np.float32(127.5)) / np.float32(127.5)
"""(x / 255 - 0.5) / 0.5 for every pixel value, float32 [256], in the stock processor's order of operations."""


def _taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `target` positions: the lower and upper source index and the weight of the upper one."""
    # The scale is a float32 in torch; the product and the half are fused there, which float64 reproduces.
    scale = float(np.float32(source) / np.float32(target))
    centres = np.maximum((np.arange(target) + 0.5) * scale - 0.5, 0).astype(np.float32)
    lower = np.minimum(centres.astype(np.intp), source - 1)
    weight = np.clip(centres - lower.astype(np.float32), 0, 1).astype(np.float32)
    return lower, np.minimum(lower + 1, source - 1), weight


def resize_bilinear(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Stretch a uint8 [h, w, 3] image to [height, width, 3]; the aspect is not kept.

    torch's own result depends on its number of threads where a value lies within float32 error of a half (about one
    value in 10^5 at photograph sizes, by one level); everywhere else the two are equal.
    """
    if image.shape[:2] == (height, width):
        return image
    top, bottom, down = _taps(image.shape[0], height)
    left, right, across = _taps(image.shape[1], width)
    one = np.float32(1)
    used, where = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    rows = image[used]
    across, down = across[None, :, None], down[:, None, None]
    mixed: NDArray[np.float32] = np.take(rows, left, axis=1) * (one - across)
    mixed += np.take(rows, right, axis=1) * across
    result: NDArray[np.float32] = mixed[where[:height]] * (one - down)
    result += mixed[where[height:]] * down
    np.rint(result, out=result)
    return np.clip(result, 0, 255, out=result).astype(np.uint8)


def patches_of(crops: NDArray[np.uint8], patch_size: int) -> NDArray[np.float32]:
    """Cut uint8 [n, side, side, 3] into normalised patches, float32 [n, patches, patch * patch * 3].

    Patches in row-major order; inside a patch rows, columns, channels. Values in [-1, 1].
    """
    count, height, width, channels = crops.shape
    rows, cols = height // patch_size, width // patch_size
    blocks = crops.reshape(count, rows, patch_size, cols, patch_size, channels).transpose(0, 1, 3, 2, 4, 5)
    patches: NDArray[np.float32] = _LEVELS[blocks.reshape(count, rows * cols, patch_size * patch_size * channels)]
    return patches

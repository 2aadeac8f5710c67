"""Encoded image to the tensors of one image: crops as patches, pooling windows, grid. Source: molmo2 spec section 5."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.feed.decode import decode_rgb
from trackyard.feed.geometry import Tiling, VisionGeometry, pooling_windows, tile
from trackyard.feed.resize import patches_of, resize_bilinear


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageInputs:
    """What the model takes for one image.

    patches: uint8 [inputs, patches, patch * patch * 3], the global view first, then crops row by row.
    pooling: int64 [pooled, window], indices into this image's flattened patches, -1 = empty.
    grid: pooled rows and columns of the global view, then of the high-resolution view.
    """

    patches: NDArray[np.uint8]
    pooling: NDArray[np.int64]
    grid: tuple[int, int, int, int]


def load_image(data: bytes, path: str) -> NDArray[np.uint8]:
    """Decode to uint8 [h, w, 3] RGB, whole and exact: the stock processor sees these very pixels. See `decode_rgb`."""
    return decode_rgb(data, path)


def _views(image: NDArray[np.uint8], tiling: Tiling, geometry: VisionGeometry) -> NDArray[np.uint8]:
    """The global view, then overlapping crops of the stretched image, uint8 [1 + rows * cols, crop, crop, 3]."""
    side, step = geometry.crop_size, geometry.step_patches * geometry.patch_size
    views = np.empty((1 + tiling.rows * tiling.cols, side, side, 3), dtype=np.uint8)
    views[0] = resize_bilinear(image, side, side)
    canvas = resize_bilinear(image, tiling.canvas_height, tiling.canvas_width)
    for crop in range(tiling.rows * tiling.cols):
        row, col = divmod(crop, tiling.cols)
        views[1 + crop] = canvas[row * step : row * step + side, col * step : col * step + side]
    return views


def _owner(count: int, geometry: VisionGeometry) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Along one axis of `count` crops, for each canvas patch: the crop it is taken from and its place in that crop.

    A patch that two crops show is taken from the one in which it is interior.
    """
    leading, trailing = geometry.margin
    crop: list[int] = []
    place: list[int] = []
    for index in range(count):
        start = leading if index else 0
        stop = geometry.crop_patches - (trailing if index < count - 1 else 0)
        crop += [index] * (stop - start)
        place += range(start, stop)
    return np.array(crop, dtype=np.int64), np.array(place, dtype=np.int64)


def _patch_grid(tiling: Tiling, geometry: VisionGeometry) -> NDArray[np.int64]:
    """For each canvas patch, its index in the flattened crops: int64 [canvas rows, canvas cols] in patches."""
    side = geometry.crop_patches
    crop_row, row = (axis[:, None] for axis in _owner(tiling.rows, geometry))
    crop_col, col = (axis[None, :] for axis in _owner(tiling.cols, geometry))
    grid: NDArray[np.int64] = (crop_row * tiling.cols + crop_col) * side**2 + row * side + col
    return grid


def prepare_image(image: NDArray[np.uint8], geometry: VisionGeometry, max_crops: int) -> ImageInputs:
    """Turn uint8 [h, w, 3] into the model's tensors, with at most `max_crops` crops besides the global view."""
    tiling = tile(image.shape[0], image.shape[1], geometry, max_crops)
    side, window = geometry.crop_patches, geometry.image_pooling
    low = pooling_windows(np.arange(side**2, dtype=np.int64).reshape(side, side), window)
    # The global view comes first in the patches.
    high = pooling_windows(_patch_grid(tiling, geometry) + side**2, window)
    return ImageInputs(
        patches=patches_of(_views(image, tiling, geometry), geometry.patch_size),
        pooling=np.concatenate([low, high]),
        grid=(geometry.image_side, geometry.image_side, tiling.grid_rows, tiling.grid_cols),
    )

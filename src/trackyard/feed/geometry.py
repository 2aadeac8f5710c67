"""How an image becomes crops and pooled features, and a frame its grid: sizes only, no pixels.

Source: molmo2 spec sections 5 and 6. The choice of a tiling equals the stock one bit for bit (float32 arithmetic).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from trackyard.parameters import Parameters


class VisionGeometry(Parameters):
    """Sizes that the vision tower and its connector impose. Lengths in pixels where not said otherwise."""

    crop_size: int = Field(default=378, gt=0)
    patch_size: int = Field(default=14, gt=0)
    margin: tuple[int, int] = (4, 4)
    """Patches that neighbouring crops share, at the leading and the trailing edge of a crop."""
    image_pooling: int = Field(default=2, gt=0)
    """Patches per side of a pooling window, images."""
    video_pooling: int = Field(default=3, gt=0)
    """Patches per side of a pooling window, video frames."""
    max_crops: int = Field(default=8, gt=0)
    """K: high-resolution crops per image in training."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crop_size % self.patch_size:
            raise ValueError(f"crop_size={self.crop_size} is not a multiple of patch_size={self.patch_size}")
        if min(self.margin) < 0 or sum(self.margin) >= self.crop_patches:
            raise ValueError(f"margin={self.margin} leaves no step in a crop of {self.crop_patches} patches")
        return self

    @property
    def crop_patches(self) -> int:
        """Patches per side of a crop."""
        return self.crop_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches per crop or frame."""
        return self.crop_patches**2

    @property
    def patch_values(self) -> int:
        """Numbers per patch: patch x patch x 3."""
        return self.patch_size**2 * 3

    @property
    def step_patches(self) -> int:
        """Patches between the starts of neighbouring crops."""
        return self.crop_patches - sum(self.margin)

    @property
    def image_side(self) -> int:
        """Pooled features per side of the global view."""
        return math.ceil(self.crop_patches / self.image_pooling)

    @property
    def frame_side(self) -> int:
        """Pooled features per side of a video frame."""
        return math.ceil(self.crop_patches / self.video_pooling)

    @property
    def frame_features(self) -> int:
        """Pooled features of one frame (81 at the real size)."""
        return self.frame_side**2

    @property
    def frame_tokens(self) -> int:
        """Tokens of one frame without its time text: features, frame start and frame end (83 at the real size)."""
        return self.frame_features + 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """The crops of one image and what they cost.

    rows, cols: crops. canvas_height, canvas_width: pixels that the image is stretched to. grid_rows, grid_cols: pooled
    features of the high-resolution view (R, Cc). inputs: crops with the global view. pooled: features of both views.
    tokens: text tokens of the image with its start, end and column tokens.
    """

    rows: int
    cols: int
    canvas_height: int
    canvas_width: int
    grid_rows: int
    grid_cols: int
    inputs: int
    pooled: int
    tokens: int


@lru_cache(maxsize=16)
def _candidates(max_crops: int) -> NDArray[np.int64]:
    """All (rows, cols) with rows * cols <= max_crops, by (rows * cols, rows); the first wins a tie."""
    pairs = [(a, b) for a in range(1, max_crops + 1) for b in range(1, max_crops // a + 1)]
    return np.array(sorted(pairs, key=lambda pair: (pair[0] * pair[1], pair[0])), dtype=np.int64)


def _choose(height: int, width: int, geometry: VisionGeometry, max_crops: int) -> tuple[int, int]:
    candidates = _candidates(max_crops)
    margin = sum(geometry.margin) * geometry.patch_size
    step = geometry.step_patches * geometry.patch_size
    inner = np.array([height - margin, width - margin], dtype=np.float32)
    # An image no larger than the margins gives zero or negative extents; the stock rule divides by them all the same.
    with np.errstate(divide="ignore"):
        scales = ((candidates * step).astype(np.float32) / inner).min(axis=1)
    if (scales < 1).all():
        best = int(scales.argmax())
    else:
        best = int(np.where(scales < 1, np.float32(10e9), scales).argmin())
    return int(candidates[best, 0]), int(candidates[best, 1])


def tile(height: int, width: int, geometry: VisionGeometry, max_crops: int) -> Tiling:
    """Choose the crops of an image of height x width pixels, at most `max_crops` of them besides the global view.

    The least enlargement that covers the image, or the mildest reduction when none does.
    """
    rows, cols = _choose(height, width, geometry, max_crops)
    patch_rows, patch_cols = (count * geometry.step_patches + sum(geometry.margin) for count in (rows, cols))
    grid_rows, grid_cols = (math.ceil(count / geometry.image_pooling) for count in (patch_rows, patch_cols))
    low = geometry.image_side**2
    return Tiling(
        rows=rows,
        cols=cols,
        canvas_height=patch_rows * geometry.patch_size,
        canvas_width=patch_cols * geometry.patch_size,
        grid_rows=grid_rows,
        grid_cols=grid_cols,
        inputs=1 + rows * cols,
        pooled=low + grid_rows * grid_cols,
        tokens=low + 2 + grid_rows * (grid_cols + 1) + 2,
    )


def largest_image(geometry: VisionGeometry, max_crops: int) -> tuple[int, int]:
    """Tokens and inputs that one image costs at most, over every shape (1,400 and 9 at the real size with K = 8)."""
    step, margin = (patches * geometry.patch_size for patches in (geometry.step_patches, sum(geometry.margin)))
    tilings = [
        tile(step * int(rows) + margin, step * int(cols) + margin, geometry, max_crops)
        for rows, cols in _candidates(max_crops)
    ]
    return max(tiling.tokens for tiling in tilings), max(tiling.inputs for tiling in tilings)


def pooling_windows(indices: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Group a [rows, cols] grid of patch indices into side x side windows: int64 [windows, side * side].

    A grid that does not divide is padded with -1 on both edges, the larger part after the last row and column.
    """
    pads = [(-length % side) for length in indices.shape]
    padded = np.pad(indices, [(pad // 2, pad - pad // 2) for pad in pads], constant_values=-1)
    rows, cols = padded.shape[0] // side, padded.shape[1] // side
    windows = padded.reshape(rows, side, cols, side).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(windows.reshape(rows * cols, side * side))


def widen_windows(windows: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Pad [n, w] windows with -1 to [n, width], so that images and video frames share one tensor."""
    return np.pad(windows, [(0, 0), (0, width - windows.shape[1])], constant_values=-1)

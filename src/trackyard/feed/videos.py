"""Encoded video to the model's tensors. Source: molmo2 spec section 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from trackyard.acquire.media import frame_table
from trackyard.feed.frames import frame_indices
from trackyard.feed.geometry import VisionGeometry, pooling_windows
from trackyard.feed.resize import patches_of, resize_bilinear
from trackyard.feed.video_frames import iter_frames


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInputs:
    """What the model takes for one video, through its image path.

    patches: uint8 [n, patches, patch * patch * 3]. pooling: int64 [n * rows * cols, window], indices into
    this video's flattened patches, -1 = empty. grid: (n * rows, cols, 0, 0).
    """

    patches: NDArray[np.uint8]
    pooling: NDArray[np.int64]
    grid: tuple[int, int, int, int]


def prepare_video(
    data: bytes, path: str, times: Sequence[Fraction], geometry: VisionGeometry, *, start: Fraction = Fraction(0)
) -> VideoInputs:
    """Turn an encoded video into the model's tensors: the frames shown at `times` seconds after `start`.

    times: of `plan_frames`. start: of the clip, in seconds since the first frame (`clip_bounds`). Frames are stretched
    to the crop size as they are decoded, so memory does not grow with the video's resolution.
    """
    table = frame_table(data, path)
    indices = frame_indices(table, [start + t for t in times])
    size, side, rows = geometry.crop_size, geometry.crop_patches, geometry.frame_side
    frames = np.stack([resize_bilinear(frame, size, size) for frame in iter_frames(data, path, indices, table=table)])
    one = pooling_windows(np.arange(side**2, dtype=np.int64).reshape(side, side), geometry.video_pooling)
    offsets = np.arange(len(frames), dtype=np.int64)[:, None, None] * geometry.patches
    return VideoInputs(
        patches=patches_of(frames, geometry.patch_size),
        pooling=np.where(one >= 0, one + offsets, -1).reshape(-1, one.shape[1]),
        grid=(len(frames) * rows, rows, 0, 0),
    )

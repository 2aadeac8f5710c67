"""Encoded video to exactly the planned frames, and to the model's tensors. Source: molmo2 spec section 6.

Decoding jumps to a key frame that lies ahead and goes on sequentially where none does: at every frame the cheaper of
seeking and sequential decoding (performance spec section 8.4). Frames are identified by their own times, so both give
the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from trackyard.acquire.media import (
    DAMAGED_VIDEO,
    FrameTable,
    UnreadableMedia,
    decoded,
    frame_table,
    open_video,
    packets_from,
)
from trackyard.feed.frames import frame_indices
from trackyard.feed.geometry import VisionGeometry, pooling_windows
from trackyard.feed.resize import patches_of, resize_bilinear

SEEK_SAVES = 4
"""Frames that a seek must save to be worth refilling the decoder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInputs:
    """What the model takes for one video, through its image path.

    patches: float32 [n, patches, patch * patch * 3] in [-1, 1]. pooling: int64 [n * rows * cols, window], indices into
    this video's flattened patches, -1 = empty. grid: (n * rows, cols, 0, 0).
    """

    patches: NDArray[np.float32]
    pooling: NDArray[np.int64]
    grid: tuple[int, int, int, int]


def _upright(frame: av.VideoFrame, rotation: int) -> NDArray[np.uint8]:
    pixels = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    return np.ascontiguousarray(np.rot90(pixels, rotation // 90))


def _take(source: Iterator[tuple[int, av.VideoFrame]], table: FrameTable, index: int, path: str) -> NDArray[np.uint8]:
    wanted = table.origin + int(table.times[index])
    for pts, frame in source:
        if pts == wanted:
            return _upright(frame, table.rotation)
        if pts > wanted:
            break
    seconds = float(int(table.times[index]) * table.time_base)
    raise UnreadableMedia(
        what=f"{path}: frame {index} of {table.frames}, at {seconds:.3f} s, does not decode",
        why="another frame in its place would not be what its time text says",
        fix="replace the video and import its dataset again; until then the row counts as one that failed to decode",
        reason=DAMAGED_VIDEO,
    )


def iter_frames(
    data: bytes, path: str, indices: Sequence[int], *, table: FrameTable, seek_saves: int = SEEK_SAVES
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of rising `indices` (repeats allowed) as uint8 [h, w, 3] RGB, upright, one at a time.

    Stops decoding after the last one. seek_saves: 0 seeks to every key frame ahead, a huge value never seeks.
    Raises UnreadableMedia "damaged video" when a frame of the table does not come out of the decoder.
    """
    keys = np.flatnonzero(table.keyframes)
    with ExitStack() as opened:
        container, stream = opened.enter_context(open_video(data, path))
        source = decoded(container.demux(stream))
        following = 0  # index of the frame that the decoder gives next
        shown: tuple[int, NDArray[np.uint8]] | None = None
        for index in indices:
            if shown is None or shown[0] != index:
                before = keys[: np.searchsorted(keys, index, side="right")]
                if len(before) and before[-1] - following > seek_saves:
                    packets = packets_from(container, stream, table, int(before[-1]))
                    if packets is None:  # not a seekable stream: once more from the start, and never seek again
                        container, stream = opened.enter_context(open_video(data, path))
                        packets, keys = container.demux(stream), keys[:0]
                    source = decoded(packets)
                shown = index, _take(source, table, index, path)
                following = index + 1
            yield shown[1]


def decode_frames(
    data: bytes,
    path: str,
    indices: Sequence[int],
    *,
    table: FrameTable | None = None,
    seek_saves: int = SEEK_SAVES,
) -> NDArray[np.uint8]:
    """The frames of rising `indices`, uint8 [n, h, w, 3] RGB, upright, at full size. See `iter_frames`."""
    table = table or frame_table(data, path)
    return np.stack(list(iter_frames(data, path, indices, table=table, seek_saves=seek_saves)))


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

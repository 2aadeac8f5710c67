"""Encoded video to exactly the frames asked for. Source: molmo2 spec section 6.

Decoding jumps to a key frame that lies ahead and goes on sequentially where none does: at every frame the cheaper of
seeking and sequential decoding (performance spec section 8.4). On the way to a frame, the decoder passes over frames
that are neither wanted nor referred to by others. Frames are identified by their own times, so all ways give the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import repeat
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter
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

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

SEEK_SAVES = 4
"""Frames that a seek must save to be worth refilling the decoder."""

_ORDERING = frozenset(("h264", "hevc"))
"""Decoders that show one frame for each packet, and hold frames back to bring them in order."""

_SKIPPING = frozenset(("h264",))
"""Those of them in which an exact frame can be had without the frames that no other refers to. AV1's decoder keeps its
first setting for good; H.265 marks frames as unreferenced that those of higher temporal layers still refer to."""


def _lost(table: FrameTable, index: int, path: str) -> UnreadableMedia:
    seconds = float(int(table.times[index]) * table.time_base)
    return UnreadableMedia(
        what=f"{path}: frame {index} of {table.frames}, at {seconds:.3f} s, does not decode",
        why="another frame in its place would not be what its time text says",
        fix="replace the video and import its dataset again; until then the row counts as one that failed to decode",
        reason=DAMAGED_VIDEO,
    )


def _runs(table: FrameTable, indices: Sequence[int], seek_saves: int) -> list[tuple[int, list[int]]]:
    """Rising, distinct indices as runs: (key frame to start from, indices that are decoded in one go)."""
    keys = np.flatnonzero(table.keyframes)
    runs: list[tuple[int, list[int]]] = []
    following = 0  # index of the frame that the decoder gives next
    for index in sorted(set(indices)):
        before = keys[: np.searchsorted(keys, index, side="right")]
        if len(before) and before[-1] - following > seek_saves:
            runs.append((int(before[-1]), [index]))
        elif runs:
            runs[-1][1].append(index)
        else:
            runs.append((0, [index]))
        following = index + 1
    return runs


def _from_key(source: Iterator[tuple[int, av.VideoFrame]], key_pts: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """`source` from its key frame on; nothing where that is none.

    Streams that refresh a part of each picture in turn have points to start from, stated as key frames, but pictures
    from there on are not whole for a while.
    """
    for pts, frame in source:
        if pts >= key_pts:
            if pts == key_pts and frame.pict_type == PictureType.I:
                yield pts, frame
                yield from source
            return


def _frugally(
    container: InputContainer, stream: VideoStream, table: FrameTable, key: int, wanted: set[int], *, exact: bool = True
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(pts, frame) from a key frame on, at least those of the pts `wanted`, as far as they can be had this way.

    exact: if not, frames that no other refers to are left out even if they are wanted. Nothing comes where no seek
    finds the key frame, or it is none.
    """
    packets = packets_from(container, stream, table, key) if key else container.demux(stream)
    if packets is None:
        return
    frames = _thinned(packets, stream, wanted, exact) if stream.codec_context.name in _ORDERING else decoded(packets)
    yield from _from_key(frames, table.origin + int(table.times[key])) if key else frames


def _thinned(
    packets: Iterator[av.Packet[VideoStream]], stream: VideoStream, wanted: set[int], exact: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """What the packets decode to, without frames that are neither wanted nor referred to, up to the last wanted one."""
    context, missing, last = stream.codec_context, set(wanted), max(wanted)
    skips = context.name in _SKIPPING
    for packet in packets:
        # A frame that others refer to is decoded whatever is said here.
        full = not skips or (exact and (packet.pts is None or packet.pts in wanted))
        context.skip_frame = "DEFAULT" if full else "NONREF"
        yield from decoded([packet])
        missing.discard(packet.pts)
        if not missing or (not exact and packet.pts is not None and packet.pts >= last):
            break
    # The decoder has all that the wanted frames are made of: it gives the rest out without seeing more packets.
    end = cast("av.Packet[VideoStream]", av.Packet())
    end.stream = stream
    yield from decoded([end])


class _Upright:
    """Frames as uint8 [h, w, 3] RGB in the orientation of display. One scaler for all frames of a video.

    size: (height, width) as displayed, to which FFmpeg scales; without it frames keep their size.
    """

    def __init__(self, rotation: int, size: tuple[int, int] | None = None) -> None:
        self._turns = rotation // 90
        self._size = size[::-1] if size and self._turns % 2 else size
        self._filter = Interpolation.FAST_BILINEAR if size else Interpolation.BILINEAR
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        height, width = self._size or (frame.height, frame.width)
        scaled = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=self._filter, threads=1
        )
        return np.ascontiguousarray(np.rot90(np.asarray(scaled.to_ndarray(), dtype=np.uint8), self._turns))


def _until(source: Iterator[tuple[int, av.VideoFrame]], wanted: int) -> av.VideoFrame | None:
    for pts, frame in source:
        if pts >= wanted:
            return frame if pts == wanted else None
    return None


def _pictures(
    data: bytes, path: str, indices: Sequence[int], table: FrameTable, seek_saves: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(index, frame) of rising, distinct indices."""
    pts = {index: table.origin + int(table.times[index]) for index in indices}
    with ExitStack() as opened:
        container, stream = opened.enter_context(open_video(data, path))
        given = 0
        for key, run in _runs(table, indices, seek_saves):
            source = _frugally(container, stream, table, key, {pts[index] for index in run})
            for index in run:
                frame = _until(source, pts[index])
                if frame is None:
                    break
                given += 1
                yield index, frame
            else:
                continue
            break
        if given == len(indices):
            return
        # No seek finds the key frame, or a frame was lost on the way to it: from the start, with every frame decoded.
        container, stream = opened.enter_context(open_video(data, path))
        source = decoded(container.demux(stream))
        for index in indices[given:]:
            frame = _until(source, pts[index])
            if frame is None:
                raise _lost(table, index, path)
            yield index, frame


def iter_frames(
    data: bytes, path: str, indices: Sequence[int], *, table: FrameTable, seek_saves: int = SEEK_SAVES
) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of rising `indices` (repeats allowed) as uint8 [h, w, 3] RGB, upright, one at a time.

    Stops decoding after the last one. seek_saves: 0 seeks to every key frame ahead, a huge value never seeks.
    Raises UnreadableMedia "damaged video" when a frame of the table does not come out of the decoder.
    """
    upright, times = _Upright(table.rotation), Counter(indices)
    for index, frame in _pictures(data, path, list(times), table, seek_saves):
        yield from repeat(upright(frame), times[index])


def _nearest(
    shown: Iterator[tuple[int, av.VideoFrame]], run: Sequence[int], table: FrameTable
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(its own index, frame) of `shown` that is nearest in time to each of `run`; ends early if nothing is shown."""
    behind: tuple[int, av.VideoFrame] | None = None
    ahead: tuple[int, av.VideoFrame] | None = None
    for index in run:
        wanted = table.origin + int(table.times[index])
        while ahead is None or ahead[0] < wanted:
            found = next(shown, None)
            if found is None:
                break
            behind, ahead = ahead, found
        if ahead is None:
            return
        pts, frame = ahead if behind is None or ahead[0] - wanted <= wanted - behind[0] else behind
        yield int(np.searchsorted(table.times, pts - table.origin)), frame


def nearest_frames(
    data: bytes, path: str, indices: Sequence[int], size: tuple[int, int], *, table: FrameTable
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Approximate: for each of rising, distinct `indices` a frame close by that others refer to, cheap to decode.

    Yields (its own index, uint8 [height, width, 3] RGB, upright); `table.times` of that index is the time to state.
    size: (height, width), to which FFmpeg scales. For previews: pixels are near as well, and what a model sees are the
    exact frames of `iter_frames`.
    """
    upright, given = _Upright(table.rotation, size), 0
    with ExitStack() as opened:
        container, stream = opened.enter_context(open_video(data, path))
        # B-frames without smoothed block edges: a tenth of the time for a tenth of a level.
        stream.codec_context.options = {**stream.codec_context.options, "skip_loop_filter": "bidir"}
        for key, run in _runs(table, indices, SEEK_SAVES):
            wanted = {table.origin + int(table.times[index]) for index in run}
            source = _frugally(container, stream, table, key, wanted, exact=False)
            for index, frame in _nearest(source, run, table):
                given += 1
                yield index, upright(frame)
            if not given or indices[given - 1] != run[-1]:
                break
    for index, frame in _pictures(data, path, indices[given:], table, table.frames):
        yield index, upright(frame)


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

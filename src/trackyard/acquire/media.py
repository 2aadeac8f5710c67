"""The one guarded door to encoded media: size limits from the header first, then a decode that proves the bytes.

Ingest (`probe_image`, `probe_video`) and training (`image_header`, `frame_table`, `open_video`) use the same door, so
no decoder ever sees unchecked input. Source: molmo2 spec sections 6 and 9, reliability spec F16 and F17.
"""

from __future__ import annotations

import io
import warnings
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Literal

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trackyard.acquire.video_limits import (
    MAX_FRAMES,
    MAX_PROBE_PIXELS,
    MAX_SECONDS,
    VIDEO_FORMATS,
    OverLimit,
    check_tables,
)
from trackyard.errors import DataError
from trackyard.row import Media

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_PIXELS = 64_000_000
"""Largest width x height of an image or of a video's frames; 10 million is ordinary (molmo2 spec section 9)."""

TAIL_FRAMES = 1000
"""`probe_video` proves the last frame by decoding from the last key frame, when that is at most this many frames; from
the first where no seek finds that one, when that is at most `MAX_PROBE_PIXELS`."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Image formats that are opened at all. PIL knows more, among them PostScript, which would start an interpreter."""

UNREADABLE_IMAGE: Literal["unreadable image"] = "unreadable image"
TOO_LARGE: Literal["image above 64 megapixels"] = "image above 64 megapixels"
WITHOUT_FRAMES: Literal["video without frames"] = "video without frames"
DAMAGED_VIDEO: Literal["damaged video"] = "damaged video"
TOO_LONG: Literal["video above the limits"] = "video above the limits"

Reason = Literal[
    "unreadable image",
    "image above 64 megapixels",
    "video without frames",
    "damaged video",
    "video above the limits",
]

_FIX = "leave it out, or replace it and import again; examples/import shows what is accepted"

# What PIL's decoders raise on damaged input, besides OSError (of which UnidentifiedImageError is one).
_PIL_ERRORS = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, OverflowError)

_SEEKS = 16
"""Key frames that are tried before a stream counts as one in which no seek finds them."""

# In these codecs a packet may hold a reference picture that is never shown, so packets do not tell frame times.
_HIDDEN_FRAMES = frozenset({"vp8"})


class UnreadableMedia(DataError):
    """Media bytes that cannot be used. `reason` is the label under which such rows are counted."""

    def __init__(self, *, what: str, why: str, fix: str, reason: Reason = UNREADABLE_IMAGE) -> None:
        super().__init__(what=what, why=why, fix=fix)
        self.reason: Reason = reason


def check_size(width: int, height: int, path: str) -> None:
    """Refuse what a header states, before anything is decoded. Raises UnreadableMedia."""
    if width * height > MAX_PIXELS:
        raise UnreadableMedia(
            what=f"{path} is {width} x {height}, {width * height / 1e6:.0f} megapixels",
            why=f"the limit is {MAX_PIXELS / 1e6:.0f}: a few kilobytes can decode to gigabytes",
            fix=_FIX,
            reason=TOO_LARGE,
        )


@contextmanager
def image_header(data: bytes, path: str) -> Iterator[Image.Image]:
    """Open an encoded image and yield it with its header read, its size checked and no pixel decoded.

    Errors of decoders inside the block become UnreadableMedia.
    """
    try:
        with warnings.catch_warnings():
            # PIL's own limit warns first and refuses only at twice its value; ours refuses below both.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            check_size(image.width, image.height, path)
            yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnreadableMedia(
            what=f"{path}: {error}",
            why=f"the limit is {MAX_PIXELS / 1e6:.0f} megapixels: a few kilobytes can decode to gigabytes",
            fix=_FIX,
            reason=TOO_LARGE,
        ) from error
    except _PIL_ERRORS as error:
        raise UnreadableMedia(
            what=f"{path} ({len(data)} bytes) is not a readable image: {type(error).__name__}: {error}",
            why="its pixels cannot be trained on",
            fix=_FIX,
            reason=UNREADABLE_IMAGE,
        ) from error


def open_image(data: bytes, path: str) -> Image.Image:
    """Decode the first picture of an encoded image, EXIF orientation applied, mode as stored.

    The size is refused from the header, before anything is decoded. Raises UnreadableMedia.
    """
    with image_header(data, path) as image:
        image.load()
        return ImageOps.exif_transpose(image)


def probe_image(data: bytes, path: str) -> Media:
    """Check an encoded image by decoding it whole; width and height are those after EXIF orientation."""
    image = open_image(data, path)
    return Media(kind="image", data=data, path=path, width=image.width, height=image.height)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameTable:
    """When each frame of a video is shown, in presentation order; measured from packets, never from the header.

    times: int64 [frames], ticks of `time_base` (seconds) since the first frame, strictly rising. origin: pts of the
    first frame. duration: seconds from the start of the first frame to the end of the last. keyframes: bool [frames].
    width, height: pixels as displayed. rotation: counter-clockwise degrees, a multiple of 90, that a decoded frame
    is turned by to be displayed.
    """

    times: NDArray[np.int64]
    time_base: Fraction
    origin: int
    duration: Fraction
    stream_index: int
    keyframes: NDArray[np.bool_]
    width: int
    height: int
    rotation: int

    @property
    def frames(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        """Mean frames per second; 0 for a video without duration."""
        return float(self.frames / self.duration) if self.duration else 0.0


def _unusable(path: str, problem: str, reason: Reason) -> UnreadableMedia:
    return UnreadableMedia(
        what=f"{path}: {problem}",
        why="a video is trained on through its frames and their times",
        fix=_FIX,
        reason=reason,
    )


@contextmanager
def open_video(data: bytes, path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open encoded bytes and yield (container, its best video stream), with frame size checked and audio ignored.

    Errors of FFmpeg inside the block become UnreadableMedia "damaged video"; a video above a limit of `video_limits` is
    one as well.
    """
    options = {
        "protocol_whitelist": "none",  # a playlist must not make FFmpeg open other files or addresses
        "format_whitelist": VIDEO_FORMATS,
        "fflags": "+genpts",  # missing pts are derived from dts
        "max_pixels": str(MAX_PIXELS),  # FFmpeg decodes frames to find out what a stream is
    }
    try:
        check_tables(data)
        container = av.open(io.BytesIO(data), mode="r", options=options)
    except OverLimit as error:
        raise _unusable(path, str(error), TOO_LONG) from error
    except av.error.MemoryError:
        raise  # of this process, not of the file
    except (av.FFmpegError, ValueError) as error:
        raise _unusable(path, f"{len(data)} bytes are not a video: {error}", WITHOUT_FRAMES) from error
    with container:
        stream = container.streams.best("video")
        # A cover picture in an audio file is a video stream to FFmpeg.
        if not isinstance(stream, av.VideoStream) or Disposition.attached_pic in stream.disposition:
            raise _unusable(path, "no video stream that can be decoded", WITHOUT_FRAMES)
        check_size(stream.width, stream.height, path)
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.codec_context.thread_count = 1  # the feed's workers are the parallelism
        try:
            yield container, stream
        except av.error.MemoryError:
            raise
        except av.FFmpegError as error:
            raise _unusable(path, f"FFmpeg stopped: {error}", DAMAGED_VIDEO) from error
        except OverLimit as error:
            raise _unusable(path, str(error), TOO_LONG) from error


@dataclass(slots=True)
class _Scan:
    """What one pass over the packets found: (pts, duration or 0, key) of each frame in one flat array, and the first
    frame that decodes. work: pixels decoded for it."""

    found: array[int] = field(default_factory=lambda: array("q"))
    first: av.VideoFrame | None = None
    without_pts: int = 0
    work: int = 0


def _scan(container: InputContainer, stream: VideoStream, *, decode_all: bool) -> _Scan:
    """Raises OverLimit: more frames than are read, or too much to decode."""
    scan = _Scan()
    for number, packet in enumerate(container.demux(stream)):
        if number > MAX_FRAMES:
            raise OverLimit(f"more than {MAX_FRAMES:,} frames")
        if packet.size and not packet.is_discard and not packet.is_corrupt and not decode_all:
            if packet.pts is None:
                scan.without_pts += 1
            else:
                scan.found.extend((packet.pts, packet.duration or 0, packet.is_keyframe))
        if scan.first is not None and not decode_all:
            continue
        pixels = 0
        for pts, frame in decoded([packet]):
            scan.first = scan.first or frame
            pixels += frame.width * frame.height
            if decode_all:
                scan.found.extend((pts, frame.duration or 0, bool(frame.key_frame)))
        scan.work += max(pixels, stream.width * stream.height)
        if scan.work > MAX_PROBE_PIXELS:
            raise OverLimit(f"more than {MAX_PROBE_PIXELS / 1e9:.0f} gigapixels must be decoded to measure it")
    return scan


def frame_table(data: bytes, path: str) -> FrameTable:
    """Measure the frame times of a video by reading its packets; decodes only as far as the first frame.

    Frames before the first one that decodes, and packets marked discarded or corrupt, do not count.
    Raises UnreadableMedia: "video without frames" (garbage, audio only), "damaged video", "image above 64 megapixels",
    "video above the limits".
    """
    with open_video(data, path) as (container, stream):
        decode_all = stream.codec_context.name in _HIDDEN_FRAMES
        scan = _scan(container, stream, decode_all=decode_all)
        time_base, rate, index = stream.time_base, stream.average_rate, stream.index
    if scan.without_pts and not decode_all:
        raise _unusable(path, f"{scan.without_pts} packets carry no presentation time", DAMAGED_VIDEO)
    if scan.first is None or scan.first.pts is None or time_base is None:
        raise _unusable(path, f"none of {len(scan.found) // 3} video packets decodes to a frame", WITHOUT_FRAMES)
    origin = scan.first.pts
    shown = _in_order(np.frombuffer(scan.found, dtype=np.int64).reshape(-1, 3), origin)
    if not len(shown):
        raise _unusable(path, "no video packet carries the time of a frame", WITHOUT_FRAMES)
    length = (int(shown[-1, 0]) - origin + int(shown[-1, 1])) * time_base
    if length > MAX_SECONDS:
        raise _unusable(path, f"its frames span {float(length):,.0f} s; {MAX_SECONDS:,} are read", TOO_LONG)
    times = shown[:, 0] - origin
    last = Fraction(int(shown[-1, 1]))
    if not last and len(times) > 1:
        last = Fraction(int(times[-1]), len(times) - 1)
    elif not last and rate:
        last = 1 / (rate * time_base)
    rotation = round(scan.first.rotation / 90) * 90 % 360
    width, height = scan.first.width, scan.first.height
    return FrameTable(
        times=times,
        time_base=Fraction(time_base),
        origin=origin,
        duration=(int(times[-1]) + last) * time_base,
        stream_index=index,
        keyframes=shown[:, 2].astype(np.bool_),
        width=height if rotation % 180 else width,
        height=width if rotation % 180 else height,
        rotation=rotation,
    )


def _in_order(found: NDArray[np.int64], origin: int) -> NDArray[np.int64]:
    """Rows of `found` by rising pts from `origin` on; of several with one pts, the one that was found last."""
    rows = found[found[:, 0] >= origin]
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return rows[np.append(rows[1:, 0] != rows[:-1, 0], True)] if len(rows) else rows


def decoded(packets: Iterable[av.Packet[VideoStream]]) -> Iterator[tuple[int, av.VideoFrame]]:
    """(pts, frame) of what the packets decode to. A wanted frame that was lost shows by its absence."""
    for packet in packets:
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue  # a stream cut inside a group of pictures begins with packets that nothing can decode
        yield from ((frame.pts, frame) for frame in frames if frame.pts is not None)


def packets_from(
    container: InputContainer, stream: VideoStream, table: FrameTable, key: int
) -> Iterator[av.Packet[VideoStream]] | None:
    """Packets from that of key frame `key` (an index into the table) on; None where no seek finds it.

    Demuxers disagree on whether a seek compares decoding or presentation times or bytes, so the landing is checked, and
    an earlier key frame is tried when it lies behind the wanted one.
    """
    wanted = table.origin + int(table.times[key])
    for candidate in np.flatnonzero(table.keyframes[: key + 1])[: -_SEEKS - 1 : -1]:
        container.seek(table.origin + int(table.times[candidate]), stream=stream)
        packets = container.demux(stream)
        for packet in packets:
            if packet.is_keyframe and packet.pts == wanted:
                return chain([packet], packets)
            if packet.dts is not None and packet.dts > wanted:
                break
    return None


def _check_tail(data: bytes, path: str, table: FrameTable) -> None:
    """Prove the last frame, which the model is always shown, and that times rise as frames come out.

    They do not where a container stores no presentation times for reordered frames (H.264 with B-frames in AVI).
    """
    keys = np.flatnonzero(table.keyframes)
    last_key = int(keys[-1]) if len(keys) else 0
    if table.frames - last_key > TAIL_FRAMES:
        return
    with open_video(data, path) as (container, stream):
        packets = packets_from(container, stream, table, last_key) if last_key else container.demux(stream)
        shown = [pts for pts, _ in decoded(packets or ())]
    if packets is None:
        if table.frames * table.width * table.height > MAX_PROBE_PIXELS:
            return
        with open_video(data, path) as (container, stream):
            shown = [pts for pts, _ in decoded(container.demux(stream))]
    if any(later <= earlier for earlier, later in pairwise(shown)):
        raise _unusable(path, "the frames' times do not rise, so the container's are not their own", DAMAGED_VIDEO)
    if not shown or shown[-1] != table.origin + int(table.times[-1]):
        raise _unusable(path, f"the last of {table.frames} frames does not decode", DAMAGED_VIDEO)


def probe_video(data: bytes, path: str) -> Media:
    """Check an encoded video: frame times from its packets, the first and the last frame by decoding them."""
    table = frame_table(data, path)
    _check_tail(data, path, table)
    return Media(
        kind="video",
        data=data,
        path=path,
        width=table.width,
        height=table.height,
        frames=table.frames,
        fps=table.fps,
        duration=float(table.duration),
    )

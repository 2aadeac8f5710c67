"""Clips: shapes that move, appear or pass behind a post, as H.264 in MP4 with known positions at every frame.

All clips last a multiple of 0.5 s and at most 3.5 s, so that sampling at 2 frames/s with eight frames or more
(molmo2 spec section 6) shows exactly the multiples of 0.5 s, and the points are at sampled times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from PIL import Image

from trackyard.acquire.mini.draft import Box
from trackyard.acquire.mini.drawing import COLOURS, SQUARE, Colour, blank, draw_shape, paper
from trackyard.acquire.mini.scene import Item, Look, apart
from trackyard.row import Media

FPS = 8
POST = (120, 120, 120)


@dataclass(frozen=True, slots=True)
class Mover:
    """A shape on a path: its centre is at stops[k] at times[k] seconds, in between on a straight line in whole
    pixels, and after the last stop it stays. Before the first time it is not there."""

    look: Look
    diameter: int
    times: tuple[float, ...]
    stops: tuple[tuple[int, int], ...]

    def at(self, t: float) -> Item | None:
        """The shape as drawn at t seconds, None before it appears."""
        if t < self.times[0]:
            return None
        x, y = (round(float(np.interp(t, self.times, axis))) for axis in zip(*self.stops, strict=True))
        return Item(self.look, x, y, self.diameter)


@dataclass(frozen=True, slots=True)
class Clip:
    """Movers over `seconds`; `post` is a grey box in front of them."""

    movers: tuple[Mover, ...]
    seconds: float
    post: Box | None = None

    @property
    def frame_times(self) -> list[float]:
        return [k / FPS for k in range(round(self.seconds * FPS))]

    def clear(self) -> bool:
        """True if all shapes stay inside the picture and apart from each other in every frame."""
        for t in self.frame_times:
            boxes = [item.box for mover in self.movers if (item := mover.at(t)) is not None]
            if any(min(b[0], b[1], SQUARE[0] - b[2], SQUARE[1] - b[3]) < 1 for b in boxes):
                return False
            if not all(apart(a, b) for i, a in enumerate(boxes) for b in boxes[:i]):
                return False
        return True

    def hidden(self, item: Item) -> bool:
        """True if the post covers the whole shape."""
        if self.post is None:
            return False
        (left, top, right, bottom), post = item.box, self.post
        return post[0] <= left and post[1] <= top and right <= post[2] and bottom <= post[3]


def film(rng: np.random.Generator, clip: Clip) -> Media:
    """Draw and encode a clip."""
    background = paper(rng)
    return encode([_frame(clip, t, background) for t in clip.frame_times])


def _frame(clip: Clip, t: float, background: Colour) -> Image.Image:
    image, pen = blank(SQUARE, background)
    for mover in clip.movers:
        item = mover.at(t)
        if item is not None:
            draw_shape(pen, item.look.shape, item.box, COLOURS[item.look.colour])
    if clip.post is not None:
        draw_shape(pen, "square", clip.post, POST)
    return image


def encode(frames: Sequence[Image.Image]) -> Media:
    """H.264 in MP4 at FPS, a key frame every second. The same frames give the same bytes: one thread, no B-frames,
    no creation time, and the encoder's own settings message (NAL type 6, 700 bytes a clip) left out."""
    buffer = BytesIO()
    width, height = frames[0].size
    with av.open(buffer, mode="w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, FPS)
        stream.options = {"crf": "23", "preset": "veryfast", "g": str(FPS), "bf": "0", "threads": "1"}
        strip = BitStreamFilterContext("filter_units=remove_types=6", stream)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            _mux(container, strip, stream.encode(frame))
        _mux(container, strip, stream.encode(None))
        _mux(container, strip, [None])
    return Media(
        kind="video",
        data=buffer.getvalue(),
        path="",
        width=width,
        height=height,
        frames=len(frames),
        fps=float(FPS),
        duration=len(frames) / FPS,
    )


def _mux(
    container: av.container.OutputContainer, strip: BitStreamFilterContext, packets: Sequence[av.Packet[Any] | None]
) -> None:
    for packet in packets:
        container.mux(strip.filter(packet))

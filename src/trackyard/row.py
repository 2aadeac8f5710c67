"""The row: one media set and the conversations on it. The noun that acquire, snapshot and feed share.

Source: molmo2 spec section 3 and design section 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

IMAGE_MARK = "<|image|>"
VIDEO_MARK = "<|video|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """One encoded image or video.

    width, height: pixels as displayed (EXIF orientation and rotation applied). frames: 1 for an image.
    fps: frames per second measured from frame times, 0 for an image. duration: seconds from the start of the first
    frame to the end of the last, 0 for an image.
    """

    kind: Literal["image", "video"]
    data: bytes
    path: str
    width: int
    height: int
    frames: int = 1
    fps: float = 0.0
    duration: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message. An empty user text is written by the feed from the task's template; an empty assistant text is
    written by the feed from the points or options in the row's meta."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One media set with one or more conversations (branches), each alternating user and assistant.

    meta, all optional; the first four hold one entry per conversation:
      points: list of {media, t, id, x, y, occluded, box?}; x, y and box [x0, y0, x1, y1] are fractions in [0, 1],
              t is seconds in a video or the 1-based number of an image; box is the region a right point must hit
      label: what the points show; options: list of texts; answer_index: index of the right option
      subtitle: [[start, end, text]] seconds; clip: [start, end] seconds; sampling_fps: of tracks
    """

    id: str
    task: str
    media: tuple[Media, ...] = ()
    conversations: tuple[tuple[Turn, ...], ...]
    meta: dict[str, Any] = field(default_factory=dict)

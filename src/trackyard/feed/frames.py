"""Which frames of a video the model sees, and when: exact arithmetic on metadata, the same for measuring and decoding.

Source: molmo2 spec section 6, "uniform, last frame kept".
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
from pydantic import Field

from trackyard.acquire.media import FrameTable
from trackyard.errors import ConfigError, DataError
from trackyard.parameters import Parameters
from trackyard.row import Media


class VideoParameters(Parameters):
    """How videos become frames."""

    max_frames: int = Field(default=128, gt=0)
    """F: frames per video at most."""
    fps: float = Field(default=2.0, gt=0)
    """S: frames per second while the video is short enough."""
    fit: Literal["reduce", "error"] = "reduce"
    """What happens when max_frames does not fit a pack: fewer frames over the whole clip, or a refusal."""
    slow: Literal["native", "repeat"] = "native"
    """A source slower than `fps`: sampled at its own rate, or with repeated frames (the release's behaviour)."""
    text_reserve: int = Field(default=512, ge=0)
    """Tokens of a pack that frames leave to the text of their row."""


def exact(seconds: float) -> Fraction:
    """The rational number of seconds behind a stored float: the nearest with a denominator up to 10^6.

    Container time bases are rarely finer than a microsecond, so this recovers d exactly; where one is finer, measuring
    and decoding still agree, since both start from the float in the row.
    """
    return Fraction(seconds).limit_denominator(10**6)


def sample_times(
    duration: Fraction,
    frames: int,
    source_fps: Fraction,
    max_frames: int,
    fps: Fraction,
    slow: Literal["native", "repeat"] = "native",
) -> list[Fraction]:
    """Seconds from the start of the clip at which a frame is shown, rising, at most `max_frames` of them.

    duration: end of the last frame minus start of the first. frames: of the source in that span. source_fps: measured.
    """
    if frames == 1 or max_frames == 1:
        return [Fraction(0)]
    rate = min(fps, source_fps) if slow == "native" and source_fps > 0 else fps
    if duration <= (max_frames - 1) / rate:
        # 0, 1/S, 2/S … strictly below d, then d itself.
        return [k / rate for k in range(-int(-duration * rate // 1))] + [duration]
    return [duration * k / (max_frames - 1) for k in range(max_frames)]


def frame_indices(table: FrameTable, targets: Sequence[Fraction]) -> list[int]:
    """For each time (seconds since the first frame) the last frame presented at or before it, clamped to the video."""
    ticks = np.array([t // table.time_base for t in targets], dtype=np.int64)
    found = np.searchsorted(table.times, ticks, side="right") - 1
    return [int(index) for index in np.clip(found, 0, table.frames - 1)]


def time_tokens(duration: Fraction) -> int:
    """tau: tokens that one frame's time text costs at most, with one token per digit."""
    return 4 + len(str(int(duration)))


def frames_that_fit(max_tokens: int, inputs_budget: int, tau: int, frame_tokens: int, reserve: int = 512) -> int:
    """Frames that a pack of `max_tokens` tokens and `inputs_budget` crops holds; 0 when not even one fits."""
    return max(0, min((max_tokens - reserve) // (frame_tokens + tau), inputs_budget))


def frame_limit(
    duration: Fraction, parameters: VideoParameters, *, max_tokens: int, inputs_budget: int, frame_tokens: int
) -> int:
    """F' for a clip of `duration`: max_frames, or what fits. Below max_frames means reduced: the caller counts it.

    Raises ConfigError when fit=error and max_frames does not fit, or when not one frame fits.
    """
    reserve = parameters.text_reserve
    fitting = frames_that_fit(max_tokens, inputs_budget, time_tokens(duration), frame_tokens, reserve)
    if fitting < 1 or (parameters.fit == "error" and parameters.max_frames > fitting):
        raise ConfigError(
            what=f"max_frames={parameters.max_frames}, but {fitting} fit a pack of {max_tokens} tokens "
            f"and {inputs_budget} crops",
            why=f"a frame costs {frame_tokens} tokens and up to {time_tokens(duration)} for its time, "
            f"and {parameters.text_reserve} are kept for text",
            fix="raise the pack's budgets, lower max_frames, or set fit: reduce, in params.yaml",
        )
    return min(parameters.max_frames, fitting)


def plan_frames(
    media: Media,
    parameters: VideoParameters,
    *,
    max_tokens: int,
    inputs_budget: int,
    frame_tokens: int,
    clip: tuple[float, float] | None = None,
    trim: bool = False,
) -> list[Fraction]:
    """The times that a video contributes, in seconds from the start of the clip, from its stored metadata alone.

    clip: [a, b] seconds of the video. trim: keep the sampling rate and cut the clip to max_frames instead of spreading
    the frames over all of it (tracking rows). Measuring and decoding both call this, so lengths and frames agree.
    Raises DataError for a clip outside the video, ConfigError as `frame_limit`.
    """
    whole = exact(media.duration)
    source_fps = media.frames / whole if whole else Fraction(0)
    start, end = clip_bounds(media, clip)
    duration = end - start
    frames = media.frames if clip is None else max(1, round(duration * source_fps))
    limit = frame_limit(
        duration, parameters, max_tokens=max_tokens, inputs_budget=inputs_budget, frame_tokens=frame_tokens
    )
    fps = exact(parameters.fps)
    if trim:
        rate = min(fps, source_fps) if parameters.slow == "native" and source_fps else fps
        duration = min(duration, (limit - 1) / rate)
    return sample_times(duration, frames, source_fps, limit, fps, parameters.slow)


def clip_bounds(media: Media, clip: tuple[float, float] | None) -> tuple[Fraction, Fraction]:
    """Start and end of the clip in seconds since the first frame; the end is cut to the video's."""
    whole = exact(media.duration)
    if clip is None:
        return Fraction(0), whole
    start, end = exact(clip[0]), min(exact(clip[1]), whole)
    if not 0 <= start < end:
        raise DataError(
            what=f"clip [{clip[0]}, {clip[1]}] s of {media.path}, which lasts {media.duration} s",
            why="it selects no part of the video",
            fix="correct meta.clip of the row and import the dataset again",
        )
    return start, end


def time_text(k: int, t: Fraction) -> str:
    """The text before frame k shown at t seconds: no space before the first frame's."""
    return f"{float(t):.1f} " if k == 0 else f" {float(t):.1f} "

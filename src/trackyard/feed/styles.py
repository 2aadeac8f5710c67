"""The styles of rows: which carry their name as a tag, what their answers hold, and how their tokens are weighed.

Source: molmo2 spec sections 7 (tags), 10 (weights) and 11 (kinds of points and tracks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from trackyard.feed.points import CountOrder

LENGTH_SCALE = 2.0
"""c of section 10: the release's value (the report prints 4)."""


class Kind(StrEnum):
    """What an answer of a style is made of."""

    TEXT = "text"
    CAPTION = "caption"
    POINTS = "points"
    TRACKS = "tracks"
    MULTIPLE_CHOICE = "multiple choice"


class TrackTask(StrEnum):
    """Which points of the annotated objects a tracking answer holds."""

    PER_FRAME = "every object at every sampled time"
    START_END = "first and last appearance of every object"
    SINGLE_PER_FRAME = "one given object at every sampled time"
    SINGLE_START_END = "first and last appearance of one given object"

    @property
    def single(self) -> bool:
        """The prompt carries one object's first point."""
        return self in (TrackTask.SINGLE_PER_FRAME, TrackTask.SINGLE_START_END)

    @property
    def ends_only(self) -> bool:
        """Only the first and the last appearance are asked for."""
        return self in (TrackTask.START_END, TrackTask.SINGLE_START_END)


@dataclass(frozen=True, slots=True)
class Style:
    """One row of the table of styles.

    tagged: user text starts with "{name}: " in stages 2 and 3. count: set where a points style counts.
    fixed_weight: loss weight of every target, or None for the length rule.
    """

    name: str
    kind: Kind = Kind.TEXT
    tagged: bool = False
    count: CountOrder | None = None
    track: TrackTask | None = None
    fixed_weight: float | None = None

    def weight(self, targets: int, branches: int) -> float:
        """w_t of section 10 for a branch with `targets` loss targets in a row of `branches` branches."""
        if self.fixed_weight is not None:
            return self.fixed_weight
        return LENGTH_SCALE / math.sqrt(targets) / math.sqrt(branches)


_CAPTION_WEIGHT = 0.1
_POINT_WEIGHT = 0.2


def _points(name: str, count: CountOrder | None = None) -> Style:
    # A bare count points at nothing: it is a short answer and keeps the length rule.
    weight = None if count is CountOrder.COUNT_ONLY else _POINT_WEIGHT
    return Style(name, Kind.POINTS, count=count, fixed_weight=weight)


def _tracks(name: str, task: TrackTask, *, tagged: bool = False) -> Style:
    return Style(name, Kind.TRACKS, tagged=tagged, track=task, fixed_weight=_POINT_WEIGHT)


_TABLE = (
    *(Style(name) for name in ("user_qa", "demo", "text_sft", "correction_qa")),
    *(Style(name, Kind.CAPTION) for name in ("long_caption", "short_caption")),
    Style("transcript", Kind.CAPTION, tagged=True),
    *(
        Style(name, Kind.CAPTION, fixed_weight=_CAPTION_WEIGHT)
        for name in (
            "video_long_caption",
            "video_short_caption",
            "video_transcript",
            "video_clip_caption_start_end",
            "video_frame_caption_timestamp",
        )
    ),
    _points("pointing"),
    _points("point_count", CountOrder.POINT_THEN_COUNT),
    _points("cosyn_point"),
    _points("multi_image_pointing"),
    _points("multi_image_counting", CountOrder.COUNT_ONLY),
    _points("multi_image_point_then_count", CountOrder.POINT_THEN_COUNT),
    _points("multi_image_count_then_point", CountOrder.COUNT_THEN_POINT),
    _points("video_point"),
    _points("video_point_count", CountOrder.POINT_THEN_COUNT),
    _points("video_count", CountOrder.COUNT_ONLY),
    _points("video_count_point", CountOrder.COUNT_THEN_POINT),
    _tracks("video_point_track_per_frame", TrackTask.PER_FRAME),
    _tracks("video_point_track_start_end", TrackTask.START_END),
    _tracks("video_single_point_track_start_end", TrackTask.SINGLE_START_END),
    _tracks("video_point_ground_start_end", TrackTask.START_END, tagged=True),
    _tracks("video_single_point_track_per_frame", TrackTask.SINGLE_PER_FRAME, tagged=True),
    *(
        Style(name, Kind.MULTIPLE_CHOICE)
        for name in (
            "a_okvqa_mc",
            "ai2_diagram",
            "science_qa",
            "multi_image_mc",
            "video_multiple_choice",
            "video_multiple_choice_w_subtitle",
        )
    ),
)

STYLES = {style.name: style for style in _TABLE}
"""Every style with a rule of its own. The tagged short-answer styles (vqa2, doc_qa, …) are the general case below."""


def style_of(task: str) -> Style:
    """The style of a row's task; a name outside the table is free text that carries its name as a tag (section 7)."""
    return STYLES.get(task) or Style(task, tagged=True)

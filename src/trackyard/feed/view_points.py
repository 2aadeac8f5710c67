"""Points on pictures: those that the answer teaches, read from its text, and those that the row stores.

Where the two disagree, something between import and tokens went wrong. Source: molmo2 spec section 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trackyard.feed.layout import Showing
from trackyard.feed.points import SCALE, ParsedPoint, Point, parse_points, read_points
from trackyard.row import Row

TOLERANCE = 0.5 / SCALE + 1e-9
"""Fractions that a printed coordinate may differ from the stored one, by rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One point on picture `picture` (from 0). x, y: fractions of width and height.

    stored: from the row's meta, not from the answer. name: the id, as printed or as stored. frame: the image number or
    seconds it belongs to. agrees: an answer's point lies on a stored one of its frame; None where nothing is stored.
    """

    picture: int
    branch: int
    stored: bool
    name: str
    frame: float
    x: float
    y: float
    occluded: bool = False
    agrees: bool | None = None


def marks_of(answer: str, branch: int, stored: Sequence[Point] | None, showing: Showing) -> list[Mark]:
    """The marks of one branch. stored: the conversation's points on what is shown (`stored_points`)."""
    marks = []
    for point in parse_points(answer):
        picture = _picture(point.frame, showing)
        if picture is not None:
            agrees = None if stored is None else any(_agree(point, other, showing) for other in stored)
            marks.append(
                Mark(
                    picture=picture, branch=branch, stored=False, name=str(point.id), frame=point.frame,
                    x=point.x, y=point.y, agrees=agrees,
                )
            )  # fmt: skip
    for other in stored or ():
        picture = _picture(other.t, showing)
        if picture is not None:
            marks.append(
                Mark(
                    picture=picture, branch=branch, stored=True, name=other.id, frame=other.t,
                    x=other.x, y=other.y, occluded=other.occluded,
                )
            )  # fmt: skip
    return marks


def stored_points(row: Row, conversation: int, showing: Showing) -> list[Point] | None:
    """The points that `row` stores for a conversation, on the media shown; None where it stores none for it."""
    entries = row.meta.get("points")
    if not entries or not entries[conversation]:
        return None
    return showing.scope.place(read_points(entries[conversation]))


def _picture(frame: float, showing: Showing) -> int | None:
    """The picture a point belongs to: its image, or the frame shown nearest in time; None where there is none."""
    if showing.kind == "video":
        return min(range(len(showing.times)), key=lambda k: abs(float(showing.times[k]) - frame))
    number = round(frame) - 1
    return number if 0 <= number < len(showing.media) else None


def _agree(drawn: ParsedPoint, stored: Point, showing: Showing) -> bool:
    # Times are printed with one decimal, image numbers as they are.
    if abs(drawn.frame - max(stored.t, 0.0)) > (0.05 + 1e-9 if showing.kind == "video" else 0.0):
        return False
    x, y = (min(max(value, 0.0), 1.0) for value in (stored.x, stored.y))
    return abs(drawn.x - x) <= TOLERANCE and abs(drawn.y - y) <= TOLERANCE

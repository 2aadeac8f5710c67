"""Points, tracks and counts as text, and back.

Source: molmo2 spec section 11. A point row stores fractions; the text it becomes depends on the stage, so it is written
here and nowhere else, and everything that scores an answer reads it here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

SCALE = 1000
"""Coordinates are printed as integers in 0..SCALE of width and height."""

NO_POINTS = "There are none."
NO_TRACKS = "No tracks available."


class PointFormat(StrEnum):
    """How frames are separated inside `coords`: a tab in stage 1, a semicolon later."""

    HTML_V1 = "html-v1"
    HTML_V2 = "html-v2"

    @property
    def separator(self) -> str:
        """The character between two frames."""
        return "\t" if self is PointFormat.HTML_V1 else ";"


class CountOrder(StrEnum):
    """What a counting answer consists of."""

    POINT_THEN_COUNT = "point then count"
    COUNT_THEN_POINT = "count then point"
    COUNT_ONLY = "count only"


@dataclass(frozen=True, slots=True)
class Point:
    """One annotated point. t: seconds in a video, 1-based number of an image. x, y: fractions of width and height."""

    t: float
    x: float
    y: float
    id: str = ""
    occluded: bool = False


@dataclass(frozen=True, slots=True)
class PointText:
    """Text made of points. clamped: points whose x or y lay outside [0, 1] and was moved to the edge."""

    text: str
    clamped: int = 0


@dataclass(frozen=True, slots=True)
class ParsedPoint:
    """One point read from text. frame: seconds or image number as printed; x, y: fractions in [0, 1]."""

    frame: float
    id: int
    x: float
    y: float


def read_points(entries: Iterable[dict[str, Any]]) -> list[Point]:
    """Points of one conversation, from `meta.points[j]` of a row."""
    return [
        Point(
            t=float(entry["t"]),
            x=float(entry["x"]),
            y=float(entry["y"]),
            id=str(entry.get("id", "")),
            occluded=bool(entry.get("occluded", False)),
        )
        for entry in entries
    ]


def _quantise(fraction: float) -> int:
    """Nearest thousandth, ties to even, clamped on its own (a joint range test lets y escape, section 18)."""
    return min(max(round(SCALE * fraction), 0), SCALE)


def _clamped(points: Iterable[Point]) -> int:
    return sum(not (0.0 <= point.x <= 1.0 and 0.0 <= point.y <= 1.0) for point in points)


def _frames(points: Iterable[Point], *, timed: bool) -> list[tuple[str, list[Point]]]:
    """Points grouped by the frame as it will be printed, in time order: two times that print alike are one frame."""
    groups: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda p: p.t):
        key = f"{max(0.0, point.t):.1f}" if timed else str(round(point.t))
        groups.setdefault(key, []).append(point)
    return list(groups.items())


def _element(name: str, frames: Sequence[str], label: str, style: PointFormat, alt: str | None) -> str:
    extra = f'alt="{html.escape(alt, quote=True)}" ' if alt is not None else ""
    return f'<{name} {extra}coords="{style.separator.join(frames)}">{label}</{name}>'


def format_points(
    points: Sequence[Point], label: str, style: PointFormat, *, timed: bool, alt: str | None = None
) -> PointText:
    """`<points …>` with ids 1, 2, … through the whole answer; `There are none.` without points.

    timed: frames are seconds ("%.1f") rather than image numbers. Inside a frame: sorted by (x, y) after rounding.
    """
    if not points:
        return PointText(NO_POINTS)
    frames, number = [], 0
    for key, members in _frames(points, timed=timed):
        parts = [key]
        for x, y in sorted((_quantise(p.x), _quantise(p.y)) for p in members):
            number += 1
            parts.append(f"{number} {x:03d} {y:03d}")
        frames.append(" ".join(parts))
    return PointText(_element("points", frames, label, style, alt), _clamped(points))


def format_count(
    points: Sequence[Point], label: str, style: PointFormat, order: CountOrder, *, timed: bool, alt: str | None = None
) -> PointText:
    """A counting answer; zero objects give `0` for a bare count and `There are none.` otherwise."""
    if order is CountOrder.COUNT_ONLY:
        return PointText(str(len(points)))
    pointed = format_points(points, label, style, timed=timed, alt=alt)
    if not points:
        return pointed
    if order is CountOrder.POINT_THEN_COUNT:
        text = f"Counting the {pointed.text} shows a total of {len(points)}."
    else:
        text = f"There are {len(points)} {pointed.text}."
    return PointText(text, pointed.clamped)


def format_tracks(
    points: Sequence[Point], label: str, style: PointFormat, *, timed: bool = True, alt: str | None = None
) -> PointText:
    """`<tracks …>` whose ids name objects through time; `No tracks available.` when nothing is visible.

    Occluded points, and frames that hold nothing else, are omitted. Ids follow first appearance (inside a frame by
    rounded x, y); triples are ordered by id; a repeated object in one printed frame keeps its first point.
    """
    visible = [point for point in points if not point.occluded]
    if not visible:
        return PointText(NO_TRACKS)
    numbers: dict[str, int] = {}
    frames = []
    for key, members in _frames(visible, timed=timed):
        placed: dict[str, tuple[int, int]] = {}
        for point in members:
            placed.setdefault(point.id, (_quantise(point.x), _quantise(point.y)))
        for name in sorted(placed, key=lambda n: (placed[n], n)):
            numbers.setdefault(name, len(numbers) + 1)
        triples = sorted((numbers[name], *xy) for name, xy in placed.items())
        frames.append(" ".join([key, *(f"{number} {x:03d} {y:03d}" for number, x, y in triples)]))
    return PointText(_element("tracks", frames, label, style, alt), _clamped(visible))


def first_and_last(points: Sequence[Point]) -> list[Point]:
    """The first and the last visible point of each object: what start-end styles answer with."""
    ends: dict[str, tuple[Point, Point]] = {}
    for point in sorted((p for p in points if not p.occluded), key=lambda p: p.t):
        first, _ = ends.get(point.id, (point, point))
        ends[point.id] = (first, point)
    return [point for first, last in ends.values() for point in ((first,) if first is last else (first, last))]


def first_object(points: Sequence[Point]) -> list[Point]:
    """The visible points, in time order, of the object that gets id 1 in a track: what single-point styles follow."""
    visible = [point for point in points if not point.occluded]
    if not visible:
        return []
    start = min(point.t for point in visible)
    leader = min((p for p in visible if p.t == start), key=lambda p: (_quantise(p.x), _quantise(p.y), p.id))
    return sorted((p for p in visible if p.id == leader.id), key=lambda p: p.t)


_ELEMENT = re.compile(r'<(?:points|tracks).*? coords="([0-9\t:;, .]+)"/?>')
_FRAME = re.compile(r"(?:^|\t|:|,|;)([0-9\.]+) ([0-9\. ]+)")
_TRIPLE = re.compile(r"([0-9]+) ([0-9]{3,4}) ([0-9]{3,4})")


def parse_points(text: str) -> list[ParsedPoint]:
    """Every point of every `<points>` and `<tracks>` element, in the order written.

    Ignored: a point outside the image, a frame whose number cannot be read, an id repeated in one frame.
    """
    found = []
    for element in _ELEMENT.finditer(text):
        for frame in _FRAME.finditer(element.group(1)):
            if not re.fullmatch(r"[0-9]+\.?[0-9]*|\.[0-9]+", frame.group(1)):
                continue
            seen: set[int] = set()
            for triple in _TRIPLE.finditer(frame.group(2)):
                number, x, y = (int(part) for part in triple.groups())
                if number in seen or x > SCALE or y > SCALE:
                    continue
                seen.add(number)
                found.append(ParsedPoint(float(frame.group(1)), number, x / SCALE, y / SCALE))
    return found


def count_of_answer(text: str) -> int | None:
    """The number an answer states or points out; None where it states none (scored wrong and counted).

    Order of section 11: the whole text, `total of N`, a leading `There are N`, the word `none`, the number of points.
    """
    stripped = text.strip()
    if re.fullmatch(r"[0-9]+", stripped):
        return int(stripped)
    for pattern in (r"total of ([0-9]+)", r"\AThere are ([0-9]+)"):
        stated = re.search(pattern, stripped, flags=re.IGNORECASE)
        if stated:
            return int(stated.group(1))
    if re.search(r"\bnone\b", stripped, flags=re.IGNORECASE):
        return 0
    return len(parse_points(stripped)) or None

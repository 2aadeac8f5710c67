"""Points of answers and points of rows, side by side."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.mini.datasets import MINI
from trackyard.feed.layout import Showing
from trackyard.feed.points import Point, PointFormat, format_points, format_tracks
from trackyard.feed.view_points import marks_of, stored_points

MEDIA = MINI["pixmo-points"].row("train", 0).media
VIDEO = Showing(kind="video", media=MEDIA[:1], times=tuple(Fraction(k, 2) for k in range(4)))
IMAGES = Showing(kind="image", media=(MEDIA[0], MEDIA[0]))
FRACTION = st.floats(-0.2, 1.2)


@given(st.lists(st.tuples(st.integers(1, 2), FRACTION, FRACTION), min_size=1, max_size=6), st.sampled_from(PointFormat))
def test_what_the_feed_writes_lies_on_what_is_stored(found: list[tuple[int, float, float]], form: PointFormat) -> None:
    stored = [Point(float(image), x, y) for image, x, y in found]
    marks = marks_of(format_points(stored, "dots", form, timed=False).text, 0, stored, IMAGES)
    assert [mark.agrees for mark in marks if not mark.stored] == [True] * len(stored)
    assert sorted((mark.picture, mark.x, mark.y) for mark in marks if mark.stored) == sorted(
        (image - 1, x, y) for image, x, y in found
    )


@pytest.mark.parametrize("moved", [Point(1.0, 0.502, 0.3), Point(2.0, 0.5, 0.3), Point(1.0, 0.3, 0.5)])
def test_a_point_elsewhere_is_noticed(moved: Point) -> None:
    """The negative control: another place, another image, exchanged axes."""
    text = format_points([Point(1.0, 0.5, 0.3)], "dot", PointFormat.HTML_V2, timed=False).text
    (taught, _) = marks_of(text, 0, [moved], IMAGES)
    assert taught.agrees is False


def test_a_track_is_drawn_on_the_nearest_frame() -> None:
    points = [Point(t, 0.25, 0.5, id="a") for t in (0.0, 0.7, 0.8, 9.0)]
    marks = marks_of(format_tracks(points, "dot", PointFormat.HTML_V2).text, 1, None, VIDEO)
    assert [(mark.picture, mark.frame, mark.agrees) for mark in marks] == [
        (0, 0.0, None), (1, 0.7, None), (2, 0.8, None), (3, 9.0, None),
    ]  # fmt: skip
    assert {mark.branch for mark in marks} == {1}


def test_points_on_no_shown_image_are_not_drawn() -> None:
    assert marks_of('<points coords="3 1 500 500;0 2 100 100">x</points>', 0, None, IMAGES) == []


def test_stored_points_count_from_the_start_of_the_clip() -> None:
    row = MINI["molmo2-videotrack"].row("train", 0)
    times = [entry["t"] for entry in row.meta["points"][0]]
    showing = replace(VIDEO, start=Fraction(1, 2), times=(Fraction(0), Fraction(1)))
    found = stored_points(row, 0, showing)
    assert found is not None
    assert sorted(point.t for point in found) == sorted(t - 0.5 for t in times if 0.45 <= t <= 1.55)
    assert stored_points(MINI["tulu"].row("train", 0), 0, Showing()) is None

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.feed.points import (
    CountOrder,
    Point,
    PointFormat,
    count_of_answer,
    first_and_last,
    first_object,
    format_count,
    format_points,
    format_tracks,
    parse_points,
    read_points,
)

V1, V2 = PointFormat.HTML_V1, PointFormat.HTML_V2

CUPS = [Point(1, px / 1000, py / 500) for px, py in ((100, 50), (100, 49.6), (900, 500), (5, 0))]
DOGS = [Point(0.0, 0.635, 0.522, "a"), Point(0.5, 0.606, 0.490, "a"), Point(0.5, 0.511, 0.124, "b")]


def test_the_examples_of_section_11() -> None:
    assert format_count(CUPS, "cups", V2, CountOrder.POINT_THEN_COUNT, timed=False).text == (
        'Counting the <points coords="1 1 005 000 2 100 099 3 100 100 4 900 1000">cups</points> shows a total of 4.'
    )
    assert format_tracks(DOGS, "dog", V2).text == '<tracks coords="0.0 1 635 522;0.5 1 606 490 2 511 124">dog</tracks>'
    images = [Point(2, 0.709, 0.162), Point(1, 0.555, 0.169), Point(2, 0.649, 0.154)]
    text = format_points(images, "label", V2, timed=False).text
    assert text == '<points coords="1 1 555 169;2 2 649 154 3 709 162">label</points>'
    clamped = format_points([Point(1, 0.5, 1.2)], "x", V2, timed=False)
    assert (clamped.text, clamped.clamped) == ('<points coords="1 1 500 1000">x</points>', 1)


def test_counts_and_empty_answers() -> None:
    text = format_count(CUPS[:1], "cups", V2, CountOrder.COUNT_THEN_POINT, timed=False).text
    assert text == 'There are 1 <points coords="1 1 100 100">cups</points>.'
    assert format_count(CUPS, "cups", V2, CountOrder.COUNT_ONLY, timed=False).text == "4"
    assert format_count([], "cups", V2, CountOrder.COUNT_ONLY, timed=False).text == "0"
    assert format_count([], "cups", V2, CountOrder.POINT_THEN_COUNT, timed=False).text == "There are none."
    assert format_points([], "cups", V2, timed=True).text == "There are none."
    assert format_tracks([], "dog", V2).text == "No tracks available."
    assert format_tracks([Point(0, 0.5, 0.5, "a", occluded=True)], "dog", V2).text == "No tracks available."


def test_html_v1_separates_frames_with_a_tab_and_alt_comes_before_coords() -> None:
    text = format_tracks(DOGS, "dog", V1, alt='a "dog"').text
    assert text == '<tracks alt="a &quot;dog&quot;" coords="0.0 1 635 522\t0.5 1 606 490 2 511 124">dog</tracks>'
    assert len(parse_points(text)) == 3


def test_occluded_points_and_the_frames_they_leave_empty_are_omitted() -> None:
    points = [Point(0, 0.1, 0.1, "a"), Point(1, 0.2, 0.2, "a", occluded=True), Point(2, 0.3, 0.3, "a")]
    assert format_tracks(points, "x", V2).text == '<tracks coords="0.0 1 100 100;2.0 1 300 300">x</tracks>'


def test_ids_keep_their_object_when_it_moves_past_another() -> None:
    points = [Point(0, 0.1, 0, "l"), Point(0, 0.9, 0, "r"), Point(1, 0.8, 0, "l"), Point(1, 0.2, 0, "r")]
    text = format_tracks(points, "x", V2).text
    assert text == '<tracks coords="0.0 1 100 000 2 900 000;1.0 1 800 000 2 200 000">x</tracks>'


def test_two_times_that_print_alike_are_one_frame() -> None:
    points = [Point(12.96, 0.1, 0.1, "a"), Point(13.013, 0.2, 0.2, "a"), Point(13.0, 0.3, 0.3, "b")]
    assert format_tracks(points, "x", V2).text == '<tracks coords="13.0 1 100 100 2 300 300">x</tracks>'
    assert format_points(points, "x", V2, timed=True).text == (
        '<points coords="13.0 1 100 100 2 200 200 3 300 300">x</points>'
    )


def test_a_time_just_before_the_clip_prints_as_zero() -> None:
    for t in (-0.04, -0.0):
        assert format_points([Point(t, 0, 0)], "x", V2, timed=True).text == '<points coords="0.0 1 000 000">x</points>'


def test_rounding_is_to_even_and_numbers_have_three_digits() -> None:
    text = format_points([Point(1, 0.0005, 0.0015)], "x", V2, timed=False).text
    assert text == '<points coords="1 1 000 002">x</points>'


def test_start_end_and_single_object() -> None:
    assert [p.t for p in first_and_last([*DOGS, Point(1.0, 0.5, 0.5, "a")])] == [0.0, 1.0, 0.5]
    assert [p.t for p in first_object(DOGS)] == [0.0, 0.5]
    assert first_object([Point(0, 0, 0, "a", occluded=True)]) == []


def test_reading_ignores_points_outside_and_repeated_ids() -> None:
    text = 'Here: <points alt="x" coords="1 1 100 200 1 300 400 2 1001 500 3 1000 000"/> ok'
    assert [(p.id, p.x, p.y) for p in parse_points(text)] == [(1, 0.1, 0.2), (3, 1.0, 0.0)]
    assert parse_points('<points coords="1.2.3 1 100 200">x</points>') == []
    assert parse_points("no element 1 1 100 200") == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("7", 7),
        (" 12\n", 12),
        ('Counting the <points coords="1 1 100 100">x</points> shows a total of 4.', 4),
        ('There are 3 <points coords="1 1 100 100">none</points>.', 3),
        ("There are none.", 0),
        ("None of these", 0),
        ('<points coords="1 1 100 100 2 200 200">x</points>', 2),
        ("I see nonesuch", None),
        ("", None),
        ("A lot, perhaps 5", None),
        ('<points coords="1 1 1200 100">x</points>', None),
    ],
)
def test_count_of_an_answer(text: str, count: int | None) -> None:
    assert count_of_answer(text) == count


fractions = st.floats(0, 1, allow_nan=False)
coordinates = st.lists(st.tuples(st.integers(1, 4), fractions, fractions), min_size=1, max_size=12)


@given(coordinates, st.sampled_from(PointFormat), st.sampled_from([o for o in CountOrder if "only" not in o]))
def test_round_trip_of_counted_points(
    entries: list[tuple[int, float, float]], style: PointFormat, order: CountOrder
) -> None:
    points = [Point(t, x, y) for t, x, y in entries]
    text = format_count(points, "any label", style, order, timed=False).text
    parsed = parse_points(text)
    assert count_of_answer(text) == len(points) == len(parsed)
    assert [p.id for p in parsed] == list(range(1, len(points) + 1))
    # Sorting after rounding may swap points closer than a thousandth: compare as rounded, then bound each axis.
    key = lambda p: (p[0], round(1000 * p[1]), round(1000 * p[2]))  # noqa: E731
    for (t, x, y), found in zip(sorted(entries, key=key), parsed, strict=True):
        assert found.frame == t
        assert abs(found.x - x) <= 0.5 / 1000 + 1e-12
        assert abs(found.y - y) <= 0.5 / 1000 + 1e-12


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 40), st.sampled_from("abcd")), st.tuples(fractions, fractions, st.booleans())
    ),
    st.sampled_from(PointFormat),
)
def test_round_trip_of_tracks(entries: dict[tuple[int, str], tuple[float, float, bool]], style: PointFormat) -> None:
    points = [Point(t / 10, x, y, name, gone) for (t, name), (x, y, gone) in entries.items()]
    visible = {(p.t, p.id): p for p in points if not p.occluded}
    parsed = parse_points(format_tracks(points, "x", style).text)
    assert len(parsed) == len(visible)
    names: dict[int, str] = {}
    for found in parsed:
        near = [
            p
            for (t, name), p in visible.items()
            if t == found.frame and abs(p.x - found.x) <= 0.000501 and abs(p.y - found.y) <= 0.000501
        ]
        assert near
        if len(near) == 1:
            assert names.setdefault(found.id, near[0].id) == near[0].id


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_each_axis_is_clamped_on_its_own(x: float, y: float) -> None:
    formatted = format_points([Point(1, x, y)], "x", V2, timed=False)
    (found,) = parse_points(formatted.text)
    assert abs(found.x - min(max(x, 0), 1)) <= 0.000501
    assert abs(found.y - min(max(y, 0), 1)) <= 0.000501
    assert formatted.clamped == int(not (0 <= x <= 1 and 0 <= y <= 1))


def test_points_are_read_from_the_meta_of_a_row() -> None:
    assert read_points([{"media": 0, "t": 1, "id": 7, "x": 0.5, "y": 0.25, "occluded": True}]) == [
        Point(1.0, 0.5, 0.25, "7", True)
    ]

"""Points against the worked example and the definition of molmo2 spec section 14."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.pointing import Mask, PointScore, TruePoint, score_points


def around(x: float, y: float, *, time: float = 1.0, half: float = 0.05) -> TruePoint:
    return TruePoint(time, x, y, (x - half, y - half, x + half, y + half))


def test_the_worked_example() -> None:
    score = score_points([(1, 0.2, 0.2), (1, 0.8, 0.8), (1, 0.5, 0.5)], [around(0.2, 0.22), around(0.81, 0.8)])
    assert [score.precision, score.recall, score.f1] == pytest.approx([2 / 3, 1, 0.8])


def test_nothing_there() -> None:
    assert score_points([], []) == PointScore(1, 1, 1)
    assert score_points([(1, 0.5, 0.5)], []) == PointScore(0, 0, 0)
    assert score_points([], [around(0.5, 0.5)]) == PointScore(0, 0, 0)


def test_all_missed_is_zero_and_no_division_by_it() -> None:
    assert score_points([(1, 0.1, 0.1)], [around(0.9, 0.9)]) == PointScore(0, 0, 0)


def test_each_object_is_hit_once() -> None:
    score = score_points([(1, 0.5, 0.5), (1, 0.51, 0.5), (1, 0.49, 0.5)], [around(0.5, 0.5)])
    assert [score.precision, score.recall] == pytest.approx([1 / 3, 1])


def test_the_assignment_is_the_cheapest_and_not_the_first_that_hits() -> None:
    # Both boxes hold the first guess; only the exchange lets both be hit.
    wide = TruePoint(1, 0.30, 0.5, (0.0, 0.0, 0.45, 1.0))
    narrow = TruePoint(1, 0.42, 0.5, (0.38, 0.4, 0.46, 0.6))
    assert score_points([(1, 0.41, 0.5), (1, 0.1, 0.5)], [wide, narrow]).f1 == 1


def test_a_hit_needs_its_own_image_or_time() -> None:
    assert score_points([(2, 0.5, 0.5)], [around(0.5, 0.5, time=1)]).f1 == 0
    assert score_points([(0.5, 0.5, 0.5)], [around(0.5, 0.5, time=0.52)], duration=3).f1 == 1
    assert score_points([(0.5, 0.5, 0.5)], [around(0.5, 0.5, time=0.56)], duration=3).f1 == 0


@pytest.mark.parametrize("time", [0.05, 0.15, 0.25, 0.35, 0.45, 1.25, 2.675])
def test_a_printed_time_hits_the_time_it_was_printed_from(time: float) -> None:
    assert score_points([(float(f"{time:.1f}"), 0.5, 0.5)], [around(0.5, 0.5, time=time)], duration=4).f1 == 1


def test_time_and_place_weigh_alike_in_a_video() -> None:
    """Over 100 s, half a second is less than a tenth of the picture: each guess goes to the object it is close to."""
    truth = [around(0.2, 0.5, time=10.0), around(0.8, 0.5, time=10.5)]
    guesses = [(10.5, 0.2, 0.5), (10.0, 0.8, 0.5)]
    assert score_points(guesses, truth, duration=100).f1 == 0, "near in place, but at the wrong time"
    right = [(10.0, 0.2, 0.5), (10.5, 0.8, 0.5)]
    assert score_points(right, truth, duration=100).f1 == 1
    # One guess at the right place and the wrong time must not take the object of the one that is right.
    both = [around(0.5, 0.5, time=0.0), around(0.5, 0.9, time=3.0)]
    assert score_points([(0.0, 0.5, 0.5), (3.0, 0.5, 0.9)], both, duration=3).f1 == 1


points = st.lists(st.tuples(st.just(1.0), st.floats(0, 1), st.floats(0, 1)), max_size=4)


@settings(max_examples=60, deadline=None)
@given(points, points)
def test_against_every_assignment(
    guesses: list[tuple[float, float, float]], places: list[tuple[float, float, float]]
) -> None:
    """Brute force: of the cheapest assignments, the score is that of one."""
    truth = [around(x, y, half=0.2) for _, x, y in places]
    score = score_points(guesses, truth)
    assert 0 <= score.f1 <= 1
    if not truth or not guesses:
        return
    cost = np.linalg.norm(np.array(guesses)[:, None] - np.array(places)[None], axis=-1)
    short, long = sorted((len(guesses), len(truth)))
    ways = []
    for order in permutations(range(long), short):
        pairs = [(g, t) if len(guesses) <= len(truth) else (t, g) for g, t in enumerate(order)]
        hits = sum(
            bool(abs(guesses[g][1] - places[t][1]) <= 0.2 and abs(guesses[g][2] - places[t][2]) <= 0.2)
            for g, t in pairs
        )
        ways.append((sum(cost[pair] for pair in pairs), hits))
    best = min(total for total, _ in ways)
    allowed = {hits / len(truth) for total, hits in ways if total <= best + 1e-9}
    assert any(abs(score.recall - recall) <= 1 / len(truth) * 1e-6 or _on_edge(guesses, truth) for recall in allowed)


def _on_edge(guesses: list[tuple[float, float, float]], truth: list[TruePoint]) -> bool:
    """Whether a guess lies so close to the edge of a box that the two ways of writing the test may differ."""
    boxes = [t.box for t in truth if t.box is not None]
    return any(
        min(abs(x - x0), abs(x - x1), abs(y - y0), abs(y - y1)) < 1e-9
        for _, x, y in guesses
        for x0, y0, x1, y1 in boxes
    )


@given(points)
def test_the_truth_itself_scores_one(places: list[tuple[float, float, float]]) -> None:
    assert score_points(places, [around(x, y) for _, x, y in places]).f1 == 1


def pixels(height: int, width: int, *inside: tuple[int, int]) -> Mask:
    """A mask of the pixels (row, column) that are named."""
    mask = np.zeros((height, width), dtype=bool)
    for place in inside:
        mask[place] = True
    return mask


def test_in_a_mask_the_point_is_rounded_to_a_pixel() -> None:
    truth = [TruePoint(1, 0.5, 0.5, masks={1: pixels(10, 20, (5, 10))})]
    for x, y, hit in ((0.5, 0.5, 1), (0.524, 0.549, 1), (0.526, 0.5, 0), (0.5, 0.56, 0), (0.474, 0.5, 0)):
        assert score_points([(1, x, y)], truth).f1 == hit, (x, y)
    # A half goes to the even pixel, as in the release: 10.5 -> 10, 9.5 -> 10, 11.5 -> 12.
    assert [score_points([(1, x, 0.5)], truth).f1 for x in (0.525, 0.475, 0.575)] == [1, 1, 0]


def test_a_hole_and_what_lies_beyond_the_edge_are_missed() -> None:
    ring = ~pixels(10, 10, (5, 5))
    assert score_points([(1, 0.5, 0.5)], [TruePoint(1, 0.5, 0.5, masks={1: ring})]).f1 == 0
    assert score_points([(1, 0.5, 0.5)], [TruePoint(1, 0.5, 0.5, (0, 0, 1, 1))]).f1 == 1, "where a box would be hit"
    assert score_points([(1, 1.0, 0.5)], [TruePoint(1, 0.9, 0.5, masks={1: ring})]).f1 == 0, "pixel 10 of 0..9"
    assert score_points([(1, 0.94, 0.5)], [TruePoint(1, 0.9, 0.5, masks={1: ring})]).f1 == 1


def test_an_object_of_a_video_is_hit_in_the_mask_of_the_very_time() -> None:
    moving = {0.5: pixels(10, 10, (5, 2)), 1.0: pixels(10, 10, (5, 8))}
    truth = [TruePoint(0.5, 0.2, 0.5, masks=moving)]
    for time, x, hit in ((0.5, 0.2, 1), (0.54, 0.2, 1), (1.0, 0.8, 1), (1.0, 0.2, 0), (0.5, 0.8, 0), (1.5, 0.8, 0)):
        assert score_points([(time, x, 0.5)], truth, duration=3).f1 == hit, (time, x)


def test_distances_are_in_pixels_where_the_picture_is_known() -> None:
    """In 10 x 100 pixels, half the height is nearer than a tenth of the width."""
    wide, guesses = pixels(10, 100), [(1.0, 0.3, 0.5)]
    level, above = wide.copy(), wide.copy()
    level[:, :] = True
    truth = [TruePoint(1, 0.4, 0.5, masks={1: level}), TruePoint(1, 0.3, 0.0, masks={1: above})]
    assert score_points(guesses, truth).f1 == 0, "assigned to the one above, whose mask is empty"
    near = [TruePoint(1, 0.4, 0.5, (0, 0, 1, 1)), TruePoint(1, 0.3, 0.0, (2, 2, 2, 2))]
    assert score_points(guesses, near).f1 == pytest.approx(2 / 3), "in fractions the one beside it is nearer"


def test_a_point_has_one_region() -> None:
    with pytest.raises(DataError, match="has no regions"):
        TruePoint(1, 0.5, 0.5)
    with pytest.raises(DataError, match="has two regions"):
        TruePoint(1, 0.5, 0.5, (0, 0, 1, 1), {1: pixels(2, 2)})


@given(points, st.integers(1, 20), st.integers(1, 20))
def test_the_truth_itself_scores_one_in_masks(
    places: list[tuple[float, float, float]], height: int, width: int
) -> None:
    inside = [(t, min(x, 1 - 1 / width), min(y, 1 - 1 / height)) for t, x, y in places]
    truth = [TruePoint(t, x, y, masks={t: pixels(height, width, _pixel(x, y, height, width))}) for t, x, y in inside]
    assert score_points(inside, truth).f1 == 1
    empty = [TruePoint(t, x, y, masks={t: pixels(height, width)}) for t, x, y in inside]
    assert score_points(inside, empty).f1 == (0 if inside else 1)


def _pixel(x: float, y: float, height: int, width: int) -> tuple[int, int]:
    return round(y * height), round(x * width)

"""Tracks against the worked examples of molmo2 spec section 14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.pointing import TruePoint
from trackyard.evaluate.tracking import TrackedPoint, TrackedRegion, score_tracks

LEFT, RIGHT = 0.25, 0.75


def region(time: float, name: str, x: float) -> TrackedRegion:
    return TrackedRegion(name, TruePoint(time, x, 0.5, (x - 0.1, 0.4, x + 0.1, 0.6)))


def two(frames: int) -> list[TrackedRegion]:
    return [region(t, name, x) for t in range(frames) for name, x in (("a", LEFT), ("b", RIGHT))]


def guess(frames: int, swapped: set[int]) -> list[TrackedPoint]:
    names = {t: (("1", "2") if t not in swapped else ("2", "1")) for t in range(frames)}
    return [
        TrackedPoint(t, name, x, 0.5) for t in range(frames) for name, x in zip(names[t], (LEFT, RIGHT), strict=True)
    ]


def test_two_objects_whose_names_are_exchanged_in_the_second_of_two_frames() -> None:
    score = score_tracks(guess(2, {1}), two(2))
    assert (score.detection, score.association) == (1, pytest.approx(1 / 3))
    assert score.hota == pytest.approx(0.57735, abs=5e-6)
    assert score.frame_f1 == 1  # who is who plays no part there


def test_hit_hit_miss_absent() -> None:
    truth = [region(t, "a", LEFT) for t in range(4)]
    predicted = [TrackedPoint(0, 1, LEFT, 0.5), TrackedPoint(1, 1, LEFT, 0.5), TrackedPoint(2, 1, RIGHT, 0.5)]
    score = score_tracks(predicted, truth)
    assert (score.detection, score.association, score.hota) == (
        pytest.approx(0.4), pytest.approx(0.4), pytest.approx(0.4),
    )  # fmt: skip
    assert score.frame_f1 == 0.5


def test_names_exchanged_in_one_of_four_frames() -> None:
    score = score_tracks(guess(4, {2}), two(4))
    assert score.association == pytest.approx(0.485714, abs=5e-7)
    assert score.hota == pytest.approx(0.696932, abs=5e-7)


def test_gold_is_one_and_nothing_is_zero() -> None:
    assert score_tracks(guess(3, set()), two(3)) == score_tracks([], [])
    assert score_tracks([], two(3)).hota == score_tracks([], two(3)).frame_f1 == 0
    assert score_tracks(guess(3, set()), []).hota == score_tracks(guess(3, set()), []).frame_f1 == 0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("xyz"), st.sampled_from((LEFT, RIGHT, 0.0))), max_size=8),
    st.permutations("xyz"),
)
def test_scores_are_shares_and_do_not_depend_on_names(points: list[tuple[int, str, float]], names: list[str]) -> None:
    unique = {(t, name): x for t, name, x in points}
    other = dict(zip("xyz", names, strict=True))
    first = score_tracks([TrackedPoint(t, name, x, 0.5) for (t, name), x in unique.items()], two(4))
    second = score_tracks([TrackedPoint(t, other[name], x, 0.5) for (t, name), x in unique.items()], two(4))
    assert first.hota == pytest.approx(second.hota)
    for value in (first.frame_f1, first.detection, first.association, first.hota):
        assert 0 <= value <= 1

"""Tracks against the worked examples of molmo2 spec section 14."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.pointing import TruePoint
from trackyard.evaluate.tracking import TrackedPoint, TrackedRegion, score_tracks

LEFT, RIGHT = 0.25, 0.75
OFFICIAL = Path(__file__).with_name("official") / "tracks.json"


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
    assert [score.detection, score.association] == pytest.approx([1, 1 / 3])
    assert score.hota == pytest.approx(0.57735, abs=5e-6)
    assert score.frame_f1 == 1  # who is who plays no part there


def test_hit_hit_miss_absent() -> None:
    truth = [region(t, "a", LEFT) for t in range(4)]
    predicted = [TrackedPoint(0, 1, LEFT, 0.5), TrackedPoint(1, 1, LEFT, 0.5), TrackedPoint(2, 1, RIGHT, 0.5)]
    score = score_tracks(predicted, truth)
    assert [score.detection, score.association, score.hota] == pytest.approx([0.4, 0.4, 0.4])
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


def test_equal_to_trackeval() -> None:
    """50 of the sets of benchmarks/agreement_tracks.py, with the numbers that TrackEval gave them."""
    kept = json.loads(OFFICIAL.read_text())["sets"]
    assert len(kept) == 50
    told_apart = 0
    for one in kept:
        points = [TrackedPoint(*row) for row in one["predicted"]]
        regions = [
            TrackedRegion(name, TruePoint(time, x, y, (x - half, y - half, x + half, y + half)))
            for time, name, x, y, half in one["truth"]
        ]
        if not points and not regions:
            continue  # right by the specification, 0 in TrackEval
        score = score_tracks(points, regions)
        assert [score.hota, score.detection, score.association] == pytest.approx(one["official"], abs=1e-9)
        lost = [TrackedPoint(point.time, number, point.x, point.y) for number, point in enumerate(points)]
        told_apart += abs(score_tracks(lost, regions).hota - one["official"][0]) > 1e-9
    assert told_apart > 25, "negative control: every point another object"


def test_regions_may_be_masks() -> None:
    def mask(x: float) -> TruePoint:
        found = np.zeros((10, 20), dtype=bool)
        found[4:7, round(x * 20) - 2 : round(x * 20) + 3] = True
        return TruePoint(0, x, 0.5, masks={0: found})

    regions = [TrackedRegion("a", mask(LEFT)), TrackedRegion("b", mask(RIGHT))]
    hit = [TrackedPoint(0, 1, LEFT, 0.5), TrackedPoint(0, 2, RIGHT, 0.5)]
    assert score_tracks(hit, regions).hota == 1
    assert score_tracks([TrackedPoint(0, 1, LEFT, 0.9), hit[1]], regions).detection == pytest.approx(1 / 3)


def test_frames_are_those_of_either_side() -> None:
    """One true frame, hit, and one that only a prediction has: F1 1 and 0, TP 1 and FP 1."""
    score = score_tracks([TrackedPoint(0, 1, LEFT, 0.5), TrackedPoint(5, 1, LEFT, 0.5)], [region(0, "a", LEFT)])
    assert (score.frame_f1, score.detection, score.association) == (0.5, 0.5, 0.5)
    assert score.hota == math.sqrt(score.detection * score.association)

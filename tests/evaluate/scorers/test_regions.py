"""Answers that point, against regions: boxes and masks, what lacks a region is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.scorers.regions import score_pointing, score_tracking
from trackyard.evaluate.tasks.question import Question


def box(name: str, t: float, x: float, y: float) -> dict[str, Any]:
    return {"t": t, "id": name, "x": x, "y": y, "box": (x - 0.04, y - 0.04, x + 0.04, y + 0.04)}


def question(points: list[dict[str, Any]], duration: float = 0.0) -> Question:
    return Question(id="made:validation:1", question="?", truth={"points": points, "duration": duration})


def said(*points: tuple[str, float, float, float]) -> str:
    """(id, time, x, y) in the words of a model; ids as they are given."""
    frames: dict[float, list[str]] = {}
    for name, t, x, y in points:
        frames.setdefault(t, []).append(f"{name} {round(1000 * x):03d} {round(1000 * y):03d}")
    coords = ";".join(f"{t:.1f} {' '.join(frames[t])}" for t in sorted(frames))
    return f'<points coords="{coords}">it</points>' if points else "There are none."


PLACES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6, unique=True)


@given(PLACES, st.data())
def test_hits_are_counted_one_to_one(places: list[tuple[int, int]], data: st.DataObject) -> None:
    truth = [box(str(n), 1.0, 0.1 * x + 0.05, 0.1 * y + 0.05) for n, (x, y) in enumerate(places, start=1)]
    hits = data.draw(st.integers(0, len(places)))
    answer = said(*((p["id"], 1.0, p["x"], p["y"]) for p in truth[:hits]))
    score = score_pointing(question(truth), answer)
    assert score.recall == pytest.approx(hits / len(places))
    assert score.precision == (1.0 if hits else 0.0)
    # The same place twice is one hit and one miss.
    twice = said(*((name, 1.0, truth[0]["x"], truth[0]["y"]) for name in "12"))
    assert score_pointing(question(truth[:1]), twice).precision == 0.5


def test_masks_decide_where_there_are_some() -> None:
    """Left half of an image of 20 x 10 pixels, though the box is of all of it."""
    mask = np.zeros((10, 20), dtype=np.bool_)
    mask[:, :10] = True
    point = {"t": 1.0, "id": "1", "x": 0.25, "y": 0.5, "masks": {1.0: mask}, "box": (0.0, 0.0, 1.0, 1.0)}
    assert score_pointing(question([point]), said(("1", 1.0, 0.4, 0.5))).f1 == 1.0
    assert score_pointing(question([point]), said(("1", 1.0, 0.6, 0.5))).f1 == 0.0


def test_tracks_keep_their_ids() -> None:
    truth = [box("1", t, 0.2, 0.2) for t in (0.0, 0.5, 1.0)] + [box("2", t, 0.7, 0.7) for t in (0.0, 0.5, 1.0)]
    whole = [(p["id"], p["t"], p["x"], p["y"]) for p in truth]
    perfect = score_tracking(question(truth, 1.0), said(*whole))
    assert (perfect.frame_f1, perfect.hota) == pytest.approx((1.0, 1.0))
    swapped = [(("2" if name == "1" else "1") if t else name, t, x, y) for name, t, x, y in whole]
    other = score_tracking(question(truth, 1.0), said(*swapped))
    assert other.frame_f1 == pytest.approx(1.0)
    assert other.hota < 0.9
    assert score_tracking(question(truth, 1.0), "").hota == 0.0


def test_nothing_to_point_at_wants_no_points() -> None:
    none = score_pointing(question([]), "")
    assert (none.precision, none.recall, none.f1) == (1.0, 1.0, 1.0)
    assert score_pointing(question([]), said(("1", 1.0, 0.2, 0.2))).f1 == 0.0


@pytest.mark.parametrize("score", [score_pointing, score_tracking])
def test_without_points_or_regions_nothing_is_scored(score: Any) -> None:
    with pytest.raises(DataError, match="made:validation:1 has no points"):
        score(Question(id="made:validation:1", question="?"), "")
    with pytest.raises(DataError, match="without the region"):
        score(question([{"t": 1.0, "id": "1", "x": 0.5, "y": 0.5}]), "")

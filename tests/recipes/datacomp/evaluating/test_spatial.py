"""SpatialRGPT-Bench: gold answers are right, their opposites wrong, silence is nothing; directions are apart."""

from __future__ import annotations

import pytest

from tests.recipes.datacomp.evaluating.answering import COUNT, accuracy, scored, written
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.made_items import APART
from trackyard.recipes.datacomp.evaluating.scoring import Answer
from trackyard.recipes.datacomp.evaluating.sets import SETS
from trackyard.recipes.datacomp.scenes import qualitative, quantitative, scene


def opposite(item: Item) -> str:
    """What the scene's own question calls the wrong answer."""
    number = int(item.id.rpartition("-")[2])
    of = scene(APART, number)
    return quantitative(of).wrong if number % 2 else qualitative(of, true=number % 4 == 0).wrong


def test_spatial_gold_is_right_its_opposite_wrong_and_nothing_is_nothing() -> None:
    gold = scored("spatial", written(lambda item: item.gold))
    assert accuracy(gold) == 1
    negated = scored("spatial", written(opposite))
    assert accuracy(negated) == 0
    assert all(record.pred is not None for record in negated)
    empty = scored("spatial", written(lambda item: ""))
    assert accuracy(empty) == 0
    assert all(record.pred is None for record in empty)


def test_permuted_lengths_are_wrong_unless_they_are_equal() -> None:
    figures = SETS["spatial"].figures(scored("spatial", written(lambda item: item.gold)))
    assert figures["quantitative"]["n"] + figures["qualitative"]["n"] == COUNT
    assert figures["quantitative"]["within"] == {"0.10": 1.0, "0.25": 1.0, "0.50": 1.0}
    assert figures["quantitative"]["mean_abs_relative_error"] == 0
    longer = SETS["spatial"].figures(
        scored("spatial", written(lambda item: "1.3 metres" if item.gold == "1 metres" else "2.6 metres"))
    )
    assert longer["quantitative"]["within"] == {"0.10": 0.0, "0.25": 0.0, "0.50": 1.0}
    assert longer["quantitative"]["mean_abs_relative_error"] == pytest.approx(0.3)


def test_directions_are_circular_and_apart() -> None:
    item = Item(
        id="1",
        task="direction",
        images=(b"x",),
        question="If you are at Region [0], where will you find Region [1]?",
        options=(),
        gold="Region [1] is roughly at 12 o'clock from Region [0].",
        meta={"type": "quantitative"},
    )
    spatial = SETS["spatial"]
    assert spatial.problem(item) is None
    records = [
        spatial.record(item, Answer(text=text, length=1))
        for text in ("11 o'clock", "1 o'clock", "6 o'clock", "12 metres", "")
    ]
    assert [record.correct for record in records] == [True, True, False, False, False]
    figures = spatial.figures(records)
    assert figures["direction"]["n"] == 5
    assert figures["direction"]["mean_degrees"] == pytest.approx((30 + 30 + 180) / 3)
    assert figures["quantitative"]["n"] == 0
    assert figures["quantitative"]["mean_abs_relative_error"] is None


@pytest.mark.parametrize(
    ("task", "kind", "gold", "wrong"),
    [
        ("left_predicate", "qualitative", "who knows", "not read"),
        ("sideways_predicate", "qualitative", "Yes.", "no rule"),
        ("left_opinion", "qualitative", "Yes.", "no rule"),
        ("width_data", "else", "2 m", "no rule"),
        ("width_data", "quantitative", "wide", "not read"),
        ("tall_choice", "qualitative", "Region [0] is taller.", None),
        ("width_data", "quantitative", "The width of Region [0] is 3.04 feet.", None),
    ],
)
def test_spatial_items_that_the_rules_cannot_score_are_refused(
    task: str, kind: str, gold: str, wrong: str | None
) -> None:
    item = Item(id="1", task=task, images=(b"x",), question="?", options=(), gold=gold, meta={"type": kind})
    found = SETS["spatial"].problem(item)
    assert (found is None) if wrong is None else (wrong in str(found))


def test_an_error_while_scoring_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise NameError("metres")

    monkeypatch.setattr("trackyard.recipes.datacomp.evaluating.spatial._read", broken)
    with pytest.raises(NameError):
        scored("spatial", written(lambda item: item.gold))

"""BLINK: the likeliest letter, and what is written, which is scored apart."""

from __future__ import annotations

from tests.recipes.datacomp.evaluating.answering import COUNT, accuracy, likelihoods, scored
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.scoring import Answer
from trackyard.recipes.datacomp.evaluating.sets import SETS


def test_what_blink_writes_is_scored_apart() -> None:
    def other(item: Item) -> Answer:
        wrong = next(option for option in item.options if option != item.gold)
        return Answer(logliks=likelihoods(item, item.gold).logliks, text=wrong, length=3)

    def both(item: Item) -> Answer:
        return Answer(logliks=likelihoods(item, item.gold).logliks, text="(A) or (B)", length=6)

    for answer, expected, unparsed in (
        (lambda item: likelihoods(item, item.gold), 1.0, 0.0),
        (other, 0.0, 0.0),
        (both, 0.0, 1.0),
    ):
        records = scored("blink", answer)
        found = SETS["blink"].figures(records)["written"]
        assert (found["n"], found["accuracy"], found["unparsed_rate"]) == (COUNT, expected, unparsed)
        assert accuracy(records) == 1


def test_blink_has_1901_items_of_14_tasks() -> None:
    from trackyard.recipes.datacomp.evaluating import blink, spatial, vsr

    assert (len(blink.COUNTS), sum(blink.COUNTS.values())) == (14, 1901)
    assert sum(spatial.COUNTS.values()) == 1406
    assert vsr.COUNTS == {"random": 2195, "zeroshot": 616}

"""Row 18 on made items of the sets with options: gold 100 %, every permutation 0 %, ties and silence 0 %."""

from __future__ import annotations

import pytest

from tests.recipes.datacomp.evaluating.answering import accuracy, likelihoods, scored
from trackyard.errors import DataError
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.made_items import made_items
from trackyard.recipes.datacomp.evaluating.scoring import Answer


@pytest.mark.parametrize("name", ["blink", "vsr", "captions"])
def test_options_gold_is_right_and_every_permutation_wrong(name: str) -> None:
    assert accuracy(scored(name, lambda item: likelihoods(item, item.gold))) == 1
    for step in range(1, len(next(made_items(name, seed=0, count=1)).options)):

        def permuted(item: Item, step: int = step) -> Answer:
            return likelihoods(item, item.options[(item.options.index(item.gold) + step) % len(item.options)])

        assert accuracy(scored(name, permuted)) == 0


@pytest.mark.parametrize("name", ["blink", "vsr", "captions"])
def test_options_that_tie_are_no_answer(name: str) -> None:
    records = scored(name, lambda item: Answer(logliks=(-1.0,) * len(item.options), tokens=(1,) * 4, text="", length=0))
    assert accuracy(records) == 0
    assert all(record.pred is None for record in records)


@pytest.mark.parametrize("name", ["blink", "vsr", "captions"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_likelihood_that_is_no_number_stops(name: str, value: float) -> None:
    with pytest.raises(DataError, match="likelihoods"):
        scored(name, lambda item: Answer(logliks=(value,) * len(item.options), tokens=(1,) * 4))
    with pytest.raises(DataError, match="which has"):
        scored(name, lambda item: Answer())

"""Made items: the forms of the benchmarks, the same every time, and no scene of the training rows."""

from collections import Counter

import pytest

from trackyard.recipes.datacomp.evaluating.made_items import APART, made_items
from trackyard.recipes.datacomp.evaluating.sets import SETS
from trackyard.recipes.datacomp.scenes import jpeg, scene


@pytest.mark.parametrize("name", SETS)
def test_every_item_can_be_scored_and_is_the_same_again(name: str) -> None:
    found = list(made_items(name, seed=3, count=48))
    assert [SETS[name].problem(item) for item in found] == [None] * 48
    assert found[:5] == list(made_items(name, seed=3, count=5))
    assert found[:5] != list(made_items(name, seed=4, count=5))


def test_sets_ask_about_the_same_pictures_and_training_has_none_of_them() -> None:
    pictures = {name: [item.pictures for item in made_items(name, seed=0, count=12)] for name in SETS}
    assert len({tuple(each) for each in pictures.values()}) == 1
    evaluated = {jpeg(scene(APART, number)) for number in range(60)}
    assert len(evaluated) == 60
    assert not evaluated & {jpeg(scene(0, number)) for number in range(120)}


def test_answers_are_balanced() -> None:
    assert set(Counter(item.gold for item in made_items("vsr", seed=0, count=96)).values()) == {48}
    assert set(Counter(item.gold for item in made_items("blink", seed=0, count=96)).values()) == {48}
    yes = Counter(item.gold.split(",")[0] for item in made_items("spatial", seed=0, count=96))
    assert yes["Yes"] == yes["No"] == 24

"""Answers of models that are sure, right, wrong or silent, to made items of every set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.made_items import made_items
from trackyard.recipes.datacomp.evaluating.scoring import Answer, Record
from trackyard.recipes.datacomp.evaluating.sets import SETS

COUNT = 96


def likelihoods(item: Item, chosen: str) -> Answer:
    """A model that is sure of an option, and writes it."""
    values = tuple(-0.1 if option == chosen else -9.0 for option in item.options)
    return Answer(logliks=values, tokens=(5,) * len(values), text=chosen, length=3)


def scored(name: str, answer: Callable[[Item], Answer]) -> list[Record]:
    return [SETS[name].record(item, answer(item)) for item in made_items(name, seed=0, count=COUNT)]


def accuracy(records: list[Record]) -> float:
    return float(np.mean([record.correct for record in records]))


def written(text: Callable[[Item], str]) -> Callable[[Item], Answer]:
    return lambda item: Answer(text=text(item), length=len(text(item)))

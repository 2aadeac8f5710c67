"""Items of the benchmarks' form that the project makes itself, from the words and phrases of its mini corpus.

A model that was trained on that corpus can be better than chance on them, and no data set has to be fetched. They say
nothing about language: they show that prompts, choices and metrics of the harness work on what the study exports.
Source: pile-ffn spec section 7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trackyard.acquire.mini.draft import pick, random_of, sample
from trackyard.durable import atomic_directory
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.harness.items import write_items
from trackyard.recipes.pile_ffn.text.mini_domains import (
    DOMAINS,
    NAMES,
    PLACES,
    STATES,
    THINGS,
    TIMES,
    TRADES,
    WEATHER,
    Draw,
)

WORD = re.compile(r"(?<=\S )[A-Za-z]{3,}\b")
"""A word after a single space: the harness would have a longer gap predicted with it."""
LONGEST = 8
"""Words of an ending: a model of 128 positions must have room for it beside its context."""
UNNAMED = "default"
"""Configuration of a data set whose definition names none."""

Row = dict[str, Any]


def last_word(rng: Draw) -> Row:
    """A text whose last word occurred in it before (LAMBADA)."""
    parts = DOMAINS[pick(rng, ("prose", "code", "dialogue"))](rng)
    text = "\n".join(next(parts) for _ in range(2))
    repeated = [found for found in WORD.finditer(text) if f" {found[0]}" in text[: found.start() - 1]]
    return {"text": text[: pick(rng, repeated[len(repeated) // 2 :]).end()]}


def ending(rng: Draw) -> Row:
    """A beginning and four endings, of which three have two of their words exchanged (HellaSwag)."""
    topic = pick(rng, ("prose", "dialogue"))
    parts = DOMAINS[topic](rng)
    beginning, words = next(parts), next(parts).split("\n")[0].split(" ")[:LONGEST]
    endings = [" ".join(words)]
    while len(endings) < 4:
        first, second = sample(rng, range(len(words)), 2)
        exchanged = list(words)
        exchanged[first], exchanged[second] = words[second], words[first]
        if " ".join(exchanged) not in endings:
            endings.append(" ".join(exchanged))
    order = [int(place) for place in rng.permutation(4)]
    return {
        "activity_label": topic.capitalize(),
        "ctx_a": beginning,
        "ctx_b": "",
        "endings": [endings[place] for place in order],
        "label": str(order.index(0)),
    }


def gap(rng: Draw) -> Row:
    """A sentence with a gap that one of two people of the story fills (Winogrande)."""
    (who, other), (home, away) = sample(rng, NAMES, 2), sample(rng, PLACES, 2)
    thing, state, trade = pick(rng, THINGS), pick(rng, STATES), pick(rng, TRADES)
    story = f"{who} the {trade} lived near the {home} and owned one {state} {thing}, as {other} knew."
    right, sentence = pick(
        rng,
        (
            (who, f"There was {pick(rng, WEATHER)} {pick(rng, TIMES)}, and _ stayed at the {home}."),
            (who, f"{pick(rng, TIMES).capitalize()} the {away} was empty, and _ put the {state} {thing} back."),
            (other, f"Then _ walked from the {home} to the {away} to ask about the {thing}."),
            (other, f"The {trade} carried the {thing} to the {away}, where _ was waiting."),
        ),
    )
    options = sample(rng, (who, other), 2)
    return {
        "sentence": f"{story} {sentence}",
        "option1": options[0],
        "option2": options[1],
        "answer": str(options.index(right) + 1),
    }


def question(rng: Draw) -> Row:
    """A question, answers of the form that it asks for, and answers to other questions (TruthfulQA)."""
    thing, price, name = pick(rng, THINGS), int(rng.integers(2, 50)), pick(rng, NAMES)
    here, there = sample(rng, PLACES, 2)
    answers = {
        f"Where is the {thing}?": (f"The {thing} is at the {here}.", f"It is at the {here}."),
        f"What is the price of the {thing} today?": (f"It is {price} coins.", f"The {thing} is {price} coins."),
        f"When does the {there} open?": (f"It opens {pick(rng, TIMES)}.", f"The {there} opens {pick(rng, TIMES)}."),
        f"Do you know {name}?": (f"No, I only know you, {pick(rng, NAMES)}.", f"No, I do not know {name}."),
    }
    asked = pick(rng, list(answers))
    wrong = [first for other, (first, _) in answers.items() if other != asked]
    return {
        "question": asked,
        "mc1_targets": _targets(answers[asked][:1], wrong),
        "mc2_targets": _targets(answers[asked], wrong),
    }


def _targets(right: tuple[str, ...], wrong: list[str]) -> Row:
    return {"choices": [*right, *wrong], "labels": [1] * len(right) + [0] * len(wrong)}


MAKERS: Mapping[str, Callable[[Draw], Row]] = {
    "lambada": last_word,
    "hellaswag": ending,
    "winogrande": gap,
    "truthfulqa": question,
}
"""By the entry of catalog/ whose form the items have."""


def write_made_benchmarks(directory: Path, *, seed: int, items: int) -> None:
    """A data set of `items` items per entry, below `directory`, all or nothing. FileExistsError if it exists."""
    with atomic_directory(directory) as partial:
        for entry, make in MAKERS.items():
            definition = next(each for each in DEFINITIONS.values() if each.entry == entry)
            (partial / entry).mkdir()
            write_items(
                partial / entry,
                config=definition.config or UNNAMED,
                split=definition.split,
                rows=[make(random_of("pile-ffn made benchmarks", seed, entry, number)) for number in range(items)],
            )

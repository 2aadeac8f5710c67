"""Made items have the form of the published ones, follow from their seed, and can be answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire.mini.draft import random_of
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.harness.items import ITEMS
from trackyard.recipes.pile_ffn.measures.made_benchmarks import (
    LONGEST,
    MAKERS,
    ending,
    gap,
    last_word,
    question,
    write_made_benchmarks,
)

SEEDS = st.integers(0, 10_000)


@settings(max_examples=60)
@given(SEEDS)
def test_the_last_word_occurred_before(seed: int) -> None:
    text = last_word(random_of(seed))["text"]
    context, _, answer = text.rpartition(" ")
    assert answer.isalpha()
    assert f" {answer}" in context


@settings(max_examples=60)
@given(SEEDS)
def test_one_of_four_endings_is_right(seed: int) -> None:
    item = ending(random_of(seed))
    right = item["endings"][int(item["label"])]
    assert len(set(item["endings"])) == 4
    assert {tuple(sorted(each.split(" "))) for each in item["endings"]} == {tuple(sorted(right.split(" ")))}
    assert 3 <= len(right.split(" ")) <= LONGEST


@settings(max_examples=60)
@given(SEEDS)
def test_one_of_two_fills_the_gap(seed: int) -> None:
    item = gap(random_of(seed))
    assert item["sentence"].count("_") == 1
    assert item["option1"] != item["option2"]
    assert all(item["sentence"].count(item[option]) == 1 for option in ("option1", "option2"))
    assert item["answer"] in ("1", "2")


@settings(max_examples=60)
@given(SEEDS)
def test_answers_to_other_questions_are_wrong(seed: int) -> None:
    item = question(random_of(seed))
    for targets, right in ((item["mc1_targets"], 1), (item["mc2_targets"], 2)):
        assert targets["labels"] == [1] * right + [0] * 3
        assert len(set(targets["choices"])) == right + 3


def test_both_places_are_used() -> None:
    items = [random_of("places", number) for number in range(200)]
    assert {ending(rng)["label"] for rng in items} == set("0123")
    assert {gap(rng)["answer"] for rng in items} == set("12")


def test_every_data_set_of_the_tasks_is_made(tmp_path: Path) -> None:
    assert MAKERS.keys() == {definition.entry for definition in DEFINITIONS.values()}
    first, other = tmp_path / "a", tmp_path / "b"
    write_made_benchmarks(first, seed=0, items=5)
    write_made_benchmarks(tmp_path / "again", seed=0, items=5)
    write_made_benchmarks(other, seed=1, items=5)
    for entry in MAKERS:
        lines = [(place / entry / ITEMS).read_bytes() for place in (first, tmp_path / "again", other)]
        assert lines[0] == lines[1] != lines[2]
        rows = [json.loads(line) for line in lines[0].splitlines()]
        assert len(rows) == len({json.dumps(row) for row in rows}) == 5
    with pytest.raises(FileExistsError):
        write_made_benchmarks(first, seed=0, items=5)

"""ANLS: the spec's values, the distance beside the plain table, and what any metric owes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.scorers.anls import anls, anls_scores, edit_distance


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("abc", "abd", 2 / 3),
        ("ab", "cd", 0),
        ("ab", "ac", 0),
        ("ABC", "abc", 1),
        ("kitten", "sitting", 4 / 7),
        ("12 May", "12 may 1999", 6 / 11),
        ("42", "42.0", 0),
        ("", "", 1),
        ("", "a", 0),
        ("a", "", 0),
    ],
)
def test_worked_values(prediction: str, reference: str, score: float) -> None:
    assert anls(prediction, [reference]) == pytest.approx(score, abs=1e-12)
    assert anls(prediction, ["unlike anything", reference]) == pytest.approx(score, abs=1e-12)


def plain_distance(first: str, second: str) -> int:
    """The table of Wagner and Fischer, cell by cell."""
    row = list(range(len(second) + 1))
    for down, one in enumerate(first, start=1):
        above, row = row, [down]
        for across, other in enumerate(second, start=1):
            row.append(min(above[across] + 1, row[-1] + 1, above[across - 1] + (one != other)))
    return row[-1]


@given(st.text("abcé ", max_size=90), st.text("abcé ", max_size=90))
def test_the_distance_is_that_of_the_plain_table(first: str, second: str) -> None:
    assert edit_distance(first, second) == plain_distance(first, second)


@given(st.text("abcAB", max_size=12), st.lists(st.text("abcAB", max_size=12), min_size=1, max_size=4))
def test_the_score_follows_from_the_plain_table(prediction: str, references: list[str]) -> None:
    def one(reference: str) -> float:
        longest = max(len(prediction), len(reference))
        share = plain_distance(prediction.lower(), reference.lower()) / longest if longest else 0.0
        return 1 - share if share < 0.5 else 0.0

    assert anls(prediction, references) == pytest.approx(max(map(one, references)), abs=1e-12)


def test_sanity_of_gold_empty_and_shuffled_answers() -> None:
    rng = random.Random(0)
    gold = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz 0123456789", k=12)) for _ in range(500)]
    references = [(text, text.upper()) for text in gold]
    assert anls_scores(gold, references).tolist() == [1] * 500
    assert anls_scores([""] * 500, references).tolist() == [0] * 500
    shuffled = anls_scores(rng.sample(gold, 500), references)
    assert shuffled.dtype == np.float64
    assert shuffled.mean() < 0.02


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DataError, match="no reference for the answer 'cat'"):
        anls("cat", ())

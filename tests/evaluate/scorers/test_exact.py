"""Exact match, with and without number words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.scorers.exact import NUMBER_WORDS, em, em_number


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "number"),
    [
        ("Three", "3", 0, 1),
        ("3", "3", 1, 1),
        (" Red \n", "red", 1, 1),
        ("red", "redder", 0, 0),
        ("zero", "0", 0, 1),
        ("Twenty-one", "21", 0, 1),
        ("twenty", "20", 0, 1),
        ("2", "two", 0, 1),
        ("3", "4", 0, 0),
        ("three cats", "3 cats", 0, 0),
        ("", "3", 0, 0),
        ("", "", 0, 0),
    ],
)
def test_worked_values(prediction: str, reference: str, exact: float, number: float) -> None:
    assert em(prediction, reference) == exact
    assert em_number(prediction, reference) == number


def test_number_words_are_all_numbers_below_a_hundred() -> None:
    assert {int(digits) for digits in NUMBER_WORDS.values()} == set(range(100))
    assert NUMBER_WORDS["ninety nine"] == NUMBER_WORDS["ninety-nine"] == "99"
    assert len(NUMBER_WORDS) == 28 + 2 * 72


@given(st.text(max_size=20), st.text(max_size=20))
def test_number_words_only_add_matches(prediction: str, reference: str) -> None:
    assert 0 <= em(prediction, reference) <= em_number(prediction, reference) <= 1
    if reference.strip():
        assert em(reference.strip(), reference) == 1

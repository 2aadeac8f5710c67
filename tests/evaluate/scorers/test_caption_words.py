"""Plain words of captions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.scorers.caption_words import python_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A cat sits on a mat.", ["a", "cat", "sits", "on", "a", "mat"]),
        ("The man's T-shirt, at 3.5 ft.!", ["the", "man", "'s", "t-shirt", "at", "3.5", "ft"]),
        ("Caf\u00e9 \u2013 it\u2019s\nhere", ["caf\u00e9", "it", "'s", "here"]),
        ("?! ...", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert python_words(text) == words


@given(st.text())
def test_words_of_words_are_the_same(text: str) -> None:
    words = python_words(text)
    assert all(word and not word.isspace() for word in words)
    assert python_words(text + " zebra")[-1] == "zebra"
    assert python_words(text.upper().lower()) == python_words(text.upper())

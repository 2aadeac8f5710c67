"""The letter parser: every rule and example of the nine-datasets spec, and the traps it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.multiple_choice import chosen_option

ANIMALS = ["cat", "dog", "bird"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        # The examples of the spec.
        ("B", "B"),
        ("(b)", "B"),
        ("C. bird", "C"),
        ("The answer is C.", "C"),
        ("A dog is running", "B"),
        ("I think B", "B"),
        ("neither", None),
        ("D", None),
        # Rule 1: an option's text, whatever its case and outer punctuation.
        ("Dog.", "B"),
        (' "bird"\n', "C"),
        # Rule 2: a lone letter of any case.
        ("a", "A"),
        ("b.", "B"),
        ("c)", "C"),
        ("[a]", "A"),
        ("B:", "B"),
        # Rule 3: a letter with its mark in front.
        ("b) dog, since cats meow", "B"),
        ("(A) cat and not (C)", "A"),
        # Rule 4: the last letter in brackets, before rule 5.
        ("It is (A) or rather (C), the answer is B", "C"),
        # Rule 5: the last "answer is X" or "option X", before rule 6.
        ("Option A is wrong. Option B is right, unlike C", "B"),
        ("the answer is b", "B"),
        ("The answer is (C", "C"),
        # Rule 6: the last capital on its own.
        ("Surely B, not C... B", "B"),
        ("The letter A", "A"),
        ("A: not B", "A"),
        # Rule 7: exactly one option's text.
        ("I see a dog there", "B"),
        ("a cat and a dog", None),
        ("", None),
        ("...", None),
    ],
)
def test_rules(answer: str, letter: str | None) -> None:
    index = chosen_option(answer, ANIMALS)
    assert (None if index is None else "ABC"[index]) == letter


@pytest.mark.parametrize(
    "answer", ["The answer is a dog", "the answer is a dog.", "A dog", "A\tdog", "It's a dog, option a dog"]
)
def test_the_article_is_not_the_letter_a(answer: str) -> None:
    assert chosen_option(answer, ANIMALS) == 1


@pytest.mark.parametrize("answer", ["I do not know", "I", "I'm sure, I am"])
def test_the_pronoun_is_not_the_letter_i(answer: str) -> None:
    assert chosen_option(answer, [f"thing {k}" for k in "pqrstuvwxyz"]) in (None, 8 if answer == "I" else None)


def test_letters_beyond_the_options_are_ignored() -> None:
    assert chosen_option("D or (E) but B", ANIMALS) == 1
    assert chosen_option("(D)", ANIMALS) is None
    assert chosen_option("d", ANIMALS) is None
    assert chosen_option("(Z)", [str(k) for k in range(26)]) == 25


def test_an_option_inside_another_word_or_number_does_not_count() -> None:
    assert chosen_option("there are 15 of them", ["1", "5", "15"]) == 2
    assert chosen_option("there are 15 of them", ["1", "5", "7"]) is None
    assert chosen_option("I know nothing", ["yes", "no"]) is None
    assert chosen_option("well, no!", ["yes", "no"]) == 1


def test_options_of_punctuation_are_never_named() -> None:
    assert chosen_option("", ["?", "..."]) is None
    assert chosen_option("what is this", ["?", "..."]) is None


def test_without_options_nothing_is_chosen() -> None:
    assert chosen_option("A", []) is None


@given(st.text(max_size=60), st.lists(st.text(max_size=8), max_size=30))
def test_any_text_gives_an_option_or_none(answer: str, options: list[str]) -> None:
    chosen = chosen_option(answer, options)
    assert chosen is None or 0 <= chosen < len(options)
    assert chosen == chosen_option(answer, options)


@given(st.integers(2, 26).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))))
def test_a_gold_letter_is_always_read(pair: tuple[int, int]) -> None:
    count, right = pair
    options = [f"thing number {k}" for k in range(count)]
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[right]
    for gold in (letter, f"{letter}. {options[right]}", f"({letter})", options[right], f"The answer is {letter}."):
        assert chosen_option(gold, options) == right, gold

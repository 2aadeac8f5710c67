"""Row 18: a letter in any of its forms is read, two letters are not, and nothing is ever chosen by default."""

from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.option_choice import named_option, option_letter


@pytest.mark.parametrize(
    "answer", ["(A)", "A", "a)", "A.", "a", "(a)", " (A)\n", "[A]", "The answer is (A).", "A) cat", "A is right."]
)
def test_a_letter_is_read_in_every_form(answer: str) -> None:
    assert named_option(answer, 4) == 0


@pytest.mark.parametrize(
    "answer",
    ["(A) or (B)", "A and B", "(A), (B)", "A or b)", "Either A or (C).", "", "  ", "neither", "A dog", "I see a cat",
     "I", "()", "Yes.", "What's A's?"],
)  # fmt: skip
def test_two_letters_or_none_are_no_answer(answer: str) -> None:
    assert named_option(answer, 4) is None


def test_an_article_is_no_letter_beside_one() -> None:
    assert named_option("A ball is left of it, so (B).", 2) == 1


def test_a_letter_beyond_the_options_is_none_of_them() -> None:
    assert named_option("(C)", 2) is None
    assert named_option("(A) as in Vitamin C", 2) == 0


@given(options=st.integers(2, 26), data=st.data())
def test_gold_scores_and_every_other_letter_does_not(options: int, data: st.DataObject) -> None:
    gold, other = data.draw(st.integers(0, options - 1)), data.draw(st.integers(0, options - 1))
    letter = ascii_uppercase[gold]
    for form in (option_letter(gold), letter, f"{letter.lower()})", f"{letter}."):
        assert named_option(form, options) == gold
    both = f"{option_letter(gold)} or {option_letter(other)}"
    assert named_option(both, options) == (gold if gold == other else None)


@given(st.text(max_size=60), st.integers(2, 26))
def test_any_text_is_read_without_an_error(answer: str, options: int) -> None:
    found = named_option(answer, options)
    assert found is None or 0 <= found < options

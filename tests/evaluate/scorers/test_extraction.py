"""What is taken for the answer in a generated text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.scorers.extraction import extracted


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("cat", "cat"),
        ("  cat \n", "cat"),
        ("It has whiskers.\nSo it is a\ncat\n\n", "cat"),
        ("Reasons.\nAnswer: B", "B"),
        ("Answer: A\nNo, wait.\nAnswer: (B) dog", "(B) dog"),
        ("Answer: two\nlines", "two\nlines"),
        ("thinking Answer:", ""),
        ("answer: B", "answer: B"),
        ("", ""),
        (" \n \n", ""),
    ],
)
def test_the_answer_follows_the_mark_or_is_the_last_line(text: str, answer: str) -> None:
    assert extracted(text) == answer


def test_special_tokens_are_dropped_the_longer_one_first() -> None:
    special = ("<|im", "<|im_end|>", "<s>", "")
    assert extracted("<s>a cat<|im_end|>", special) == "a cat"
    assert extracted("<s>Answer:<|im_end|>", special) == ""
    assert extracted("a cat<|im_end|>") == "a cat<|im_end|>"
    assert extracted("a.b", (".",)) == "ab"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40), st.text(max_size=40))
def test_extraction_leaves_an_answer_of_one_line_alone(answer: str, before: str) -> None:
    wanted = answer.strip()
    if "Answer:" in wanted:
        return
    assert extracted(f"{before}\nAnswer: {answer}") == wanted
    assert extracted(wanted) == wanted

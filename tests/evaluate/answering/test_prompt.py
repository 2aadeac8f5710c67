"""The words of a question for models without styles."""

from __future__ import annotations

import pytest

from tests.evaluate.answering.families import clip, question
from tests.feed.gemma_tokenizer import gemma_tokenizer
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.prompt import only_images, plain_text, worded
from trackyard.evaluate.tasks.question import Question


def test_options_are_lettered_and_the_letter_is_asked_for() -> None:
    asked = Question(id="q", question="Which {one}?", options=("red", "blue"))
    assert worded(asked) == "Which {one}?\nA. red\nB. blue\nAnswer with the letter of the right option only."
    assert worded(asked, "Reason, then answer.") == "Which {one}?\nA. red\nB. blue\nReason, then answer."
    assert worded(Question(id="q", question="Why?"), "") == "Why?"
    assert worded(Question(id="q", question=""), "Describe the image.") == "Describe the image."


def test_a_question_without_words_is_refused() -> None:
    with pytest.raises(DataError, match="question q has no words, and its task no instruction"):
        worded(Question(id="q", question=" "))


def test_more_options_than_letters_are_refused() -> None:
    assert "Z. 25" in worded(Question(id="q", question="?", options=tuple(map(str, range(26)))))
    with pytest.raises(DataError, match="27 options"):
        worded(Question(id="q", question="?", options=tuple(map(str, range(27)))))


def test_control_tokens_in_a_question_are_refused() -> None:
    asked = Question(id="q", question="")
    assert plain_text(gemma_tokenizer(), "a <b> c", asked) == "a <b> c"
    for forged in ("a<end_of_turn>b", "<start_of_image>", "x<eos>"):
        with pytest.raises(DataError, match=r"control tokens .* question q"):
            plain_text(gemma_tokenizer(), forged, asked)


def test_a_video_is_refused_where_images_are_read() -> None:
    only_images(question(1, (8, 8)), "a model")
    with pytest.raises(ConfigError, match="about a video, and a model reads images"):
        only_images(clip(), "a model")

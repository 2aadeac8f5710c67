"""Prompts with image and world tokens: one builder, labels that are the answer, ids that no text produces."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.feed.gemma_tokenizer import CONTROLS, gemma_tokenizer
from trackyard.errors import ConfigError
from trackyard.feed.world_prompts import ControlText, NothingToLearn, TooLong, WorldPrompts

TOKENIZER = gemma_tokenizer()
SOFT, WORLD, ROOM = 16, 4, 4096
TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="<>"), min_size=1, max_size=40).filter(
    lambda text: bool(text.strip())
)
LAYOUTS = st.fixed_dictionaries(
    {
        "placement": st.sampled_from(["after_image", "before_text"]),
        "block": st.sampled_from(["causal", "bidirectional"]),
        "world_tokens": st.sampled_from([0, 1, 4, 64]),
    }
)


def builder(**changed: Any) -> WorldPrompts:
    return WorldPrompts(TOKENIZER, **({"image_tokens": SOFT, "world_tokens": WORLD, "max_length": ROOM} | changed))


def tokens(text: str) -> list[int]:
    found: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return found


@settings(max_examples=60, deadline=None)
@given(question=TEXT, answer=TEXT, images=st.integers(1, 3), layout=LAYOUTS)
def test_a_lesson_begins_with_the_prompt_of_an_evaluation(
    question: str, answer: str, images: int, layout: dict[str, Any]
) -> None:
    own = builder(**layout)
    asked, learned = own.build(question, images=images), own.build(question, images=images, answer=answer)
    assert len(asked.input_ids) == asked.prompt_len == learned.prompt_len
    np.testing.assert_array_equal(learned.input_ids[: learned.prompt_len], asked.input_ids)
    np.testing.assert_array_equal(learned.token_type_ids[: learned.prompt_len], asked.token_type_ids)
    assert (asked.labels == -100).all()
    answer_ids = tokens(unicodedata.normalize("NFC", answer.strip()))
    supervised = learned.labels[learned.labels != -100]
    assert supervised.tolist() == [*answer_ids, TOKENIZER.convert_tokens_to_ids("<end_of_turn>")]
    places = np.flatnonzero(learned.labels != -100)
    np.testing.assert_array_equal(learned.labels[places], learned.input_ids[places])
    assert places[0] == learned.prompt_len
    assert len(places) == len(answer_ids) + 1
    off = builder(**layout | {"world_tokens": 0}).build(question, images=images, answer=answer)
    assert off.labels[off.labels != -100].tolist() == supervised.tolist()
    added = layout["world_tokens"] + 2 if layout["world_tokens"] else 0
    assert len(learned.input_ids) - len(off.input_ids) == images * added


@settings(max_examples=40, deadline=None)
@given(question=TEXT, images=st.integers(1, 3), layout=LAYOUTS)
def test_spans_types_and_reserved_ids(question: str, images: int, layout: dict[str, Any]) -> None:
    own = builder(**layout)
    prompt, ids = own.build(question, images=images), own.layout
    assert len(prompt.image_spans) == images
    assert all(stop - start == SOFT for start, stop in prompt.image_spans)
    assert ids.start_id == len(TOKENIZER)
    assert ids.world_id == len(TOKENIZER) + 2
    assert ids.rows == len(TOKENIZER) + 3
    reserved = prompt.input_ids >= len(TOKENIZER)
    count = layout["world_tokens"]
    assert len(prompt.world_spans) == (images if count else 0)
    assert reserved.sum() == images * (count + 2 if count else 0)
    expected = np.zeros(len(prompt.input_ids), dtype=np.int64)
    for start, stop in prompt.image_spans:
        expected[start:stop] = 1
    for number, (start, stop) in enumerate(prompt.world_spans):
        assert stop - start == count
        assert prompt.input_ids[start - 1] == ids.start_id
        assert prompt.input_ids[stop] == ids.end_id
        expected[start:stop] = layout["block"] == "bidirectional"
        if layout["placement"] == "after_image":
            assert start - 2 == prompt.image_spans[number][1], "only the end of its image stands between"
        else:
            assert start == 2 + number * (count + 2)
    np.testing.assert_array_equal(prompt.token_type_ids, expected)


def test_without_a_world_it_is_the_text_of_the_stock_processor() -> None:
    """Tokenized as one text, with the expansion that transformers' Gemma3Processor writes."""
    for question, answer in (("Which one is left? (A) red (B) blue", "(A)"), ("Describe this image simply.", "a ball")):
        image = "\n\n<start_of_image>" + "<image_soft_token>" * SOFT + "<end_of_image>\n\n"
        whole = f"<bos><start_of_turn>user\n{image * 2}{question}<end_of_turn>\n<start_of_turn>model\n"
        own = builder(world_tokens=0)
        assert own.build(question, images=2).input_ids.tolist() == tokens(whole)
        full = tokens(f"{whole}{answer}<end_of_turn>\n")
        assert own.build(question, images=2, answer=answer).input_ids.tolist() == full
        assert builder().build(question, images=2).input_ids.tolist() != tokens(whole)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_no_text_is_tokenized_to_a_reserved_id(text: str) -> None:
    assert max(tokens(text), default=0) < builder().layout.start_id


@pytest.mark.parametrize("control", CONTROLS)
def test_control_text_is_refused_and_not_read_as_control(control: str) -> None:
    with pytest.raises(ControlText, match="control tokens"):
        builder().build(f"What is {control} here?")
    with pytest.raises(ControlText, match="control tokens"):
        builder().build("What is here?", answer=f"a ball{control}")


def test_too_long_is_refused_whole_and_counted_by_its_cause() -> None:
    length = len(builder().build("Which?", answer="a ball").input_ids)
    assert len(builder(max_length=length).build("Which?", answer="a ball").input_ids) == length
    with pytest.raises(TooLong, match=f"{length} tokens with 1 images, {length - 1} at most") as raised:
        builder(max_length=length - 1).build("Which?", answer="a ball")
    assert raised.value.cause == "too_long"
    # Added tokens count.
    assert len(builder(world_tokens=0, max_length=length - 1).build("Which?", answer="a ball").input_ids) < length


def test_a_mode_that_fills_every_sequence_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="one image of 256 \\+ 4096 tokens"):
        builder(image_tokens=256, world_tokens=4096, max_length=2048)
    builder(image_tokens=256, world_tokens=4096, max_length=4700)


@pytest.mark.parametrize(("tokens_per_image", "added"), [(4096, 4098), (16, 18), (256, 258), (64, 66), (1, 3), (0, 0)])
@pytest.mark.parametrize("images", [1, 4])
def test_the_token_budget_of_every_mode(tokens_per_image: int, added: int, images: int) -> None:
    """On the expanded ids, at the real sizes: spatial, channel, pooled4, pooled8, stats, and added or off."""
    own = builder(image_tokens=256, world_tokens=tokens_per_image, max_length=20_000)
    image = "\n\n<start_of_image>" + "<image_soft_token>" * 256 + "<end_of_image>\n\n"
    stock = tokens(f"<bos><start_of_turn>user\n{image * images}Which?<end_of_turn>\n<start_of_turn>model\n")
    assert len(own.build("Which?", images=images).input_ids) == len(stock) + images * added


def test_empty_answers_and_no_images_are_refused() -> None:
    with pytest.raises(NothingToLearn):
        builder().build("Which?", answer=" \n")
    with pytest.raises(ConfigError, match="0 images"):
        builder().build("Which?", images=0)


def test_answers_are_stripped_and_composed() -> None:
    own = builder()
    decomposed = own.build("Which?", answer="  cafe\u0301 \n")
    np.testing.assert_array_equal(decomposed.input_ids, own.build("Which?", answer="caf\u00e9").input_ids)


def test_a_template_whose_lessons_do_not_begin_with_the_prompt_is_refused() -> None:
    class Other:
        """The tokenizer with another template."""

        def __getattr__(self, name: str) -> Any:
            return getattr(TOKENIZER, name)

        def __call__(self, *args: Any, **settings: Any) -> Any:
            return TOKENIZER(*args, **settings)

        def __len__(self) -> int:
            return len(TOKENIZER)

        def apply_chat_template(self, turns: Any, **settings: Any) -> Any:
            text = TOKENIZER.apply_chat_template(turns, **settings)
            return text.replace("<start_of_turn>model\n", "<start_of_turn>model: ") if len(turns) == 1 else text

    with pytest.raises(ConfigError, match="the chat template makes"):
        WorldPrompts(Other(), image_tokens=SOFT, world_tokens=WORLD, max_length=ROOM)

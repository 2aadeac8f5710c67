"""What a model reads of one question, and the words that models without styles are asked with."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.tasks.question import Question
from trackyard.feed.templates import CHOICE_TEMPLATES
from trackyard.feed.visibility import NOT_VISUAL

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """T tokens up to where the answer begins, and the pictures that belong to them, in host memory.

    ids: int64 [T]. visual: bool [T], placeholders that carry a feature of a picture. blocks: int64 [T], the number of
    the run of tokens that sees itself in both directions, -1 elsewhere. media: arrays in the form of the subject that
    made the prompt. visual_tokens: how many of `visual` are set.
    """

    ids: Ints
    visual: Flags
    blocks: Ints
    media: Any
    visual_tokens: int

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of_text(cls, ids: Ints) -> Prompt:
        """Without pictures."""
        return cls(
            ids=ids,
            visual=np.zeros(len(ids), dtype=np.bool_),
            blocks=np.full(len(ids), NOT_VISUAL, dtype=np.int64),
            media=None,
            visual_tokens=0,
        )


def worded(question: Question, instruction: str = "") -> str:
    """The question, its options by letter, and the task's instruction; without one, the wish for a letter.

    An instruction stands alone: it may want more than a letter, such as reasons before it. DataError for more options
    than letters, and where nothing is asked at all.
    """
    text = question.question
    if question.options:
        if len(question.options) > len(ascii_uppercase):
            raise DataError(
                what=f"question {question.id} has {len(question.options)} options",
                why=f"options are named by the {len(ascii_uppercase)} letters, and the last ones would have none",
                fix="leave the question out of its task, or correct how its data set is read",
            )
        listed = "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, question.options, strict=False))
        text = f"{text}\n{listed}" if instruction else CHOICE_TEMPLATES[0][0].format(question=text, options=listed)
    said = "\n".join(part for part in (text, instruction) if part.strip())
    if not said:
        raise DataError(
            what=f"question {question.id} has no words, and its task no instruction",
            why="a model without styles would be shown pictures and asked nothing",
            fix="set `instruction` of the task in its file below tasks/",
        )
    return said


def plain_text(tokenizer: Any, text: str, of: Question) -> str:
    """`text` as it is; DataError where the tokenizer reads control tokens in it, such as the end of a turn."""
    controls = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    found = sorted(controls & set(tokenizer(text, add_special_tokens=False)["input_ids"]))
    if found:
        raise DataError(
            what=f"control tokens {tokenizer.convert_ids_to_tokens(found)} in the text of question {of.id}",
            why="they would end the question's turn, or stand for a picture that is not there",
            fix="leave the question out of its task, or correct how its data set is read",
        )
    return text


def only_images(question: Question, reader: str) -> None:
    """ConfigError for a question about a video, which `reader` does not take."""
    if any(medium.kind != "image" for medium in question.media):
        raise ConfigError(
            what=f"question {question.id} is about a video, and {reader} reads images",
            why="asked without it, the answer would say nothing about the model",
            fix="leave the task out for this model, or evaluate a Molmo2 on it",
        )

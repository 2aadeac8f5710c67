"""Questions about pictures as token ids for Gemma 3 with world tokens: one builder for training and evaluation.

The text comes from the tokenizer's chat template; image and world tokens are all there when it is done, so that masks,
positions, labels and the key-value cache never change length later. World tokens are reserved ids behind the
tokenizer's own: they have rows in the table of embeddings but no text, so that no text can produce them.
Source: theworld spec sections 5 and 9.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError, DataError
from trackyard.feed.tree import NO_TARGET

Ints = NDArray[np.int64]
Spans = tuple[tuple[int, int], ...]
"""(first, one past the last) of each run of tokens."""

START_OF_IMAGE, SOFT_TOKEN, END_OF_IMAGE = "<start_of_image>", "<image_soft_token>", "<end_of_image>"
START_OF_TURN, END_OF_TURN = "<start_of_turn>", "<end_of_turn>"
_IMAGE = f"\n\n{START_OF_IMAGE}{SOFT_TOKEN}{END_OF_IMAGE}\n\n"
"""What Gemma's processor makes of an image marker, with one soft token for all of its image."""
_REFERENCE = "x"


class Unusable(DataError):
    """A sample that cannot be asked or learned as it is. Callers count it by `cause`, and never shorten it."""

    cause = "unusable"


class TooLong(Unusable):
    """More tokens than `max_length`, after expansion."""

    cause = "too_long"


class ControlText(Unusable):
    """Text that the tokenizer reads as control tokens, such as "<end_of_turn>"."""

    cause = "control_text"


class NothingToLearn(Unusable):
    """An answer without text."""

    cause = "empty_answer"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldPrompt:
    """L tokens; every array is int64 [L]. token_type_ids: 1 where a run of tokens sees itself in both directions.

    labels: the token itself where it is learned, -100 elsewhere. prompt_len: tokens before the answer.
    """

    input_ids: Ints
    token_type_ids: Ints
    labels: Ints
    image_spans: Spans
    world_spans: Spans
    prompt_len: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptLayout:
    """Ids that the model must know. world_tokens: N_w inserted per image, 0 where none are."""

    image_tokens: int
    world_tokens: int
    image_id: int
    start_id: int
    end_id: int
    world_id: int
    pad_id: int
    stop_ids: tuple[int, ...]
    """<end_of_turn>, and the end of all text."""

    @property
    def rows(self) -> int:
        """Of the table of embeddings that these ids need."""
        return max(self.image_id, self.start_id, self.end_id, self.world_id) + 1


class WorldPrompts:
    """The builder for one tokenizer and one way of inserting world tokens."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        image_tokens: int,
        world_tokens: int,
        placement: Literal["after_image", "before_text"] = "after_image",
        block: Literal["causal", "bidirectional"] = "causal",
        max_length: int = 2048,
    ) -> None:
        """image_tokens: soft tokens per image; world_tokens: inserted per image, 0 with the world off or added.

        ConfigError for a tokenizer without Gemma's control tokens or chat template, or where one image fills
        `max_length`.
        """
        self._tokenizer, self._placement, self._max_length = tokenizer, placement, max_length
        self._world_type = int(block == "bidirectional")
        first = len(tokenizer)
        marks = (START_OF_IMAGE, SOFT_TOKEN, END_OF_IMAGE, START_OF_TURN, END_OF_TURN)
        named = {token: self._id_of(token) for token in marks}
        self._end_of_image = named[END_OF_IMAGE]
        self._end_of_turn = named[END_OF_TURN]
        self.layout = PromptLayout(
            image_tokens=image_tokens,
            world_tokens=world_tokens,
            image_id=named[SOFT_TOKEN],
            start_id=first,
            end_id=first + 1,
            world_id=first + 2,
            pad_id=tokenizer.pad_token_id,
            stop_ids=(self._end_of_turn, tokenizer.eos_token_id),
        )
        self._controls = np.array(sorted({*named.values(), *tokenizer.all_special_ids}), dtype=np.int64)
        self._tail, reference = self._of_template()
        self._controls_around = self._control_count(reference) - 3
        # One soft token stands for all of its image in `reference`.
        least = len(reference) - 1 + image_tokens + (world_tokens + 2 if world_tokens else 0)
        if least > max_length:
            raise ConfigError(
                what=f"max_length={max_length} for one image of {image_tokens} + {world_tokens} tokens",
                why=f"the shortest question would have {least} tokens, and no sample could be used",
                fix="raise datacomp.world.max_length in params.yaml, or choose a mode with fewer tokens",
            )

    def build(self, question: str, *, images: int = 1, answer: str | None = None) -> WorldPrompt:
        """A question about `images` pictures; with `answer` the conversation that teaches it.

        Raises Unusable (TooLong, ControlText, NothingToLearn).
        """
        if images < 1:
            raise ConfigError(
                what=f"a question about {images} images",
                why="without an image there is nothing that world tokens could tell",
                fix="pass the number of the item's images",
            )
        text_ids = self._prompt_ids(question, images)
        if self._control_count(text_ids) != self._controls_around + 3 * images:
            raise _control_text(question)
        ids, types = self._expanded(text_ids, images)
        prompt_len, labels = len(ids), np.full(len(ids), NO_TARGET, dtype=np.int64)
        if answer is not None:
            learned, tail = self._answer_ids(answer), self._tail[1:]
            ids = np.concatenate([ids, learned, tail])
            labels = np.concatenate([labels, learned, np.full(len(tail), NO_TARGET, dtype=np.int64)])
            types = np.concatenate([types, np.zeros(len(learned) + len(tail), dtype=np.int64)])
        if len(ids) > self._max_length:
            raise TooLong(
                what=f"{len(ids)} tokens with {images} images, {self._max_length} at most",
                why="shortened it would lose part of an image, of the question or of the answer",
                fix="it is left out and counted; raise datacomp.world.max_length in params.yaml to keep it",
            )
        return WorldPrompt(
            input_ids=ids,
            token_type_ids=types,
            labels=labels,
            image_spans=runs_of(ids == self.layout.image_id),
            world_spans=runs_of(ids == self.layout.world_id),
            prompt_len=prompt_len,
        )

    def _prompt_ids(self, question: str, images: int) -> Ints:
        """Everything before an answer, with one soft token an image and no world tokens."""
        return self._tokens(self._rendered(question, images, None))

    def _rendered(self, question: str, images: int, answer: str | None) -> str:
        content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": question}]
        turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if answer is not None:
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None)
        return text.replace(START_OF_IMAGE, _IMAGE)

    def _tokens(self, text: str) -> Ints:
        return np.array(self._tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)

    def _expanded(self, text_ids: Ints, images: int) -> tuple[Ints, Ints]:
        """Ids and token types with all image and world tokens."""
        layout, is_image = self.layout, text_ids == self.layout.image_id
        ids = np.repeat(text_ids, np.where(is_image, layout.image_tokens, 1))
        types = (ids == layout.image_id).astype(np.int64)
        if not layout.world_tokens:
            return ids, types
        block = np.array([layout.start_id, *[layout.world_id] * layout.world_tokens, layout.end_id], dtype=np.int64)
        # Directly behind <bos>, or behind the end of each image.
        ends = np.flatnonzero(ids == self._end_of_image) + 1
        places = ends if self._placement == "after_image" else np.ones(images, dtype=np.int64)
        blocks, where = np.tile(block, images), np.repeat(places, len(block))
        seen = np.where(blocks == layout.world_id, self._world_type, 0)
        return np.insert(ids, where, blocks), np.insert(types, where, seen)

    def _answer_ids(self, answer: str) -> Ints:
        """What is learned: the answer and <end_of_turn>."""
        text = unicodedata.normalize("NFC", answer.strip())
        ids = self._tokens(text)
        if not len(ids):
            raise NothingToLearn(
                what=f"the answer {answer!r}",
                why="a model that learns it learns to say nothing",
                fix="it is left out and counted; curation removes empty captions",
            )
        if self._control_count(ids):
            raise _control_text(text)
        return np.append(ids, self._end_of_turn)

    def _control_count(self, ids: Ints) -> int:
        return int(np.isin(ids, self._controls).sum())

    def _id_of(self, token: str) -> int:
        found: int | None = self._tokenizer.convert_tokens_to_ids(token)
        if found is None or found == self._tokenizer.unk_token_id:
            raise ConfigError(
                what=f"the tokenizer does not know {token}",
                why="images and turns of a conversation are marked by it",
                fix="use the tokenizer of the Gemma 3 model that is evaluated (datacomp.gemma in params.yaml)",
            )
        return found

    def _of_template(self) -> tuple[Ints, Ints]:
        """Ids behind an answer, and those of the shortest question about one image.

        ConfigError unless the template is of Gemma's form: <bos> first, and the prompt of an evaluation is how a
        conversation with an answer begins.
        """
        whole, prompt = self._rendered(_REFERENCE, 1, _REFERENCE), self._rendered(_REFERENCE, 1, None)
        tail, ids = self._tokens(whole.removeprefix(prompt + _REFERENCE)), self._tokens(prompt)
        is_prefix = whole.startswith(prompt + _REFERENCE + END_OF_TURN)
        if not is_prefix or ids[0] != self._tokenizer.bos_token_id or (ids == self.layout.image_id).sum() != 1:
            raise ConfigError(
                what=f"the chat template makes {whole!r}",
                why="a conversation does not begin with the prompt that an evaluation would use",
                fix="use the chat template of Gemma 3: <bos>, turns that end in <end_of_turn>, and <start_of_image>",
            )
        return tail, ids


def runs_of(flags: NDArray[np.bool_]) -> Spans:
    """(first, one past the last) of each run of True."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return tuple((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))


def _control_text(text: str) -> ControlText:
    return ControlText(
        what=f"control tokens in {text[:80]!r}",
        why="text would end a turn, or stand for an image that is not there",
        fix="it is left out and counted",
    )

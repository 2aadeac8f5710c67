"""Molmo2 as a subject: prompts by the feed that trained it, pictures through the stock vision tower and connector.

Source: molmo2 spec sections 5 to 8 and 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.prompt import Prompt, worded
from trackyard.evaluate.answering.subject import Subject, places
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.batch import collate, stack_packs
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.layout import FeedParameters
from trackyard.feed.sample import Sample, build_prompt
from trackyard.feed.styles import Kind, style_of
from trackyard.feed.tokens import TokenTable
from trackyard.feed.tree import blank_tree
from trackyard.feed.visibility import NOT_VISUAL, Visibility
from trackyard.models.attention import dense_mask
from trackyard.models.pixels import embed, visual_features
from trackyard.models.sending import sent
from trackyard.row import Row, Turn

IMAGES = 20
"""Of one question, at most."""
INPUTS = 512
"""Crops and frames of one question, at most: 20 images of 24 crops, or the longest clip."""
POSITIONS = 36_864
"""Tokens of prompt and answer, at most: the context that the published model was trained for last."""
SHOWN_OF_TRUTH = ("clip", "subtitle", "sampling_fps")
"""What of a question's truth the model is shown or asked with, besides its label."""


class Molmo2Subject(Subject):
    """transformers' Molmo2ForConditionalGeneration. The visual level is the number of crops of an image, at most."""

    levels_matter = True

    def __init__(
        self,
        model: Any,
        tokens: TokenTable,
        geometry: VisionGeometry,
        video: VideoParameters,
        *,
        name: str = "molmo2",
        digest: str = "",
        eos: frozenset[int] = frozenset(),
    ) -> None:
        """eos: ids that end an answer besides the tokenizer's own."""
        super().__init__(model, tokens.tokenizer, name=name, digest=digest, eos=eos | {tokens.eos}, pad=tokens.pad)
        self.tokens, self.geometry, self.video = tokens, geometry, video
        self.default_level = geometry.max_crops

    def prompt(self, question: Question, task: Task, *, visual: int | None = None) -> Prompt:
        """Levels from 1; the wording is that of the task's style."""
        level = self.geometry.max_crops if visual is None else visual
        if level < 1:
            raise ConfigError(
                what=f"visual level {level} of {self.name}",
                why="it is the number of crops of an image, and a Molmo2 always sees one besides the whole",
                fix="choose levels from 1",
            )
        if len(question.media) > IMAGES:
            raise DataError(
                what=f"question {question.id} has {len(question.media)} media, {IMAGES} at most are shown",
                why="asked without some of them, the answer would say nothing about the model",
                fix="leave the question out of its task",
            )
        feed = FeedParameters(
            geometry=self.geometry.model_copy(update={"max_crops": level}),
            video=self.video,
            evaluation=True,
            max_images=IMAGES,
            max_tokens=POSITIONS - task.new_tokens,
            max_inputs=INPUTS,
        )
        return self.prompt_of(build_prompt(_row(question, task), 0, task.name, feed, self.tokens))

    def prompt_of(self, sample: Sample) -> Prompt:
        """Of a prompt that `build_prompt` made. DataError unless each placeholder has one feature."""
        # A pack of no tokens keeps the pictures of a row, joined as the model takes them.
        bare = Sample(tree=blank_tree(0, self.pad), media=sample.media)
        pictures = collate([bare], length=0, pad=self.pad, geometry=self.geometry)
        visual = sample.tree.input_ids == self.tokens.added("<im_patch>")
        features = int((pictures.visual.pooling >= 0).any(axis=1).sum())
        if not visual.sum() == features == len(pictures.visual.pooling):
            raise DataError(
                what=f"{visual.sum()} placeholders for {len(pictures.visual.pooling)} visual features, {features} full",
                why="features would be added to other tokens than their own",
                fix="make the prompt with trackyard.feed.sample.build_prompt and the geometry of the model",
            )
        return Prompt(
            ids=sample.tree.input_ids,
            visual=visual,
            # Every image or frame token sees every other one, as in the stock class.
            blocks=np.where(sample.tree.visual, 0, NOT_VISUAL),
            media=pictures,
            visual_tokens=features,
        )

    @torch.inference_mode()
    def embeddings(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        """Features are added at their placeholders. Equal bit for bit to what the stock class makes."""
        ids = sent(self._padded_ids(prompts), self.device)
        visual = stack_packs([prompt.media for prompt in prompts], geometry=self.geometry).visual
        if not len(visual.grids):
            found: torch.Tensor = self.model.get_input_embeddings()(ids)
            return found
        features = visual_features(self.model, sent(visual.patches, self.device), sent(visual.pooling, self.device))
        return embed(self.model, ids, features, sent(places(prompts), self.device))

    def _whole_masks(self, visibility: Visibility) -> torch.Tensor:
        return dense_mask(visibility, self.device)

    def _step_masks(self, mask: torch.Tensor) -> torch.Tensor:
        return mask[:, None, None]


def _row(question: Question, task: Task) -> Row:
    """The question as the feed takes it. A style that knows no options gets them in the question's text."""
    style = style_of(task.style)
    meta: dict[str, Any] = {key: question.truth[key] for key in SHOWN_OF_TRUTH if key in question.truth}
    if "label" in question.truth:
        meta["label"] = [question.truth["label"]]
    text = question.question
    if question.options and style.kind is Kind.MULTIPLE_CHOICE:
        meta |= {"options": [list(question.options)], "answer_index": [question.answer_index]}
    elif question.options:
        text = worded(question)
    turns = (Turn(role="user", content=text), Turn(role="assistant", content=""))
    return Row(id=question.id, task=task.style, media=question.media, conversations=(turns,), meta=meta)

"""A causal language model as a subject: questions without pictures, by its chat template where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from trackyard.errors import ConfigError
from trackyard.evaluate.answering.prompt import Prompt, plain_text, worded
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.visibility import Visibility
from trackyard.models.sending import sent

KINDS = frozenset({"full_attention", "sliding_attention"})
"""Layers whose state is keys and values of single tokens: rows can be joined, cut and padded on the left."""


class CausalSubject(Subject):
    """Any `AutoModelForCausalLM` whose layers all attend. There is no visual level."""

    levels_matter = False
    default_level = None

    def __init__(self, model: Any, tokenizer: Any, *, name: str, digest: str, eos: frozenset[int], pad: int) -> None:
        """ConfigError for a model whose state is more than keys and values."""
        others = set(getattr(model.config, "layer_types", None) or ()) - KINDS
        if others:
            raise ConfigError(
                what=f"{name} has layers of the kinds {sorted(others)}",
                why="what they keep of a prompt cannot be padded, joined and cut as keys and values can",
                fix=f"evaluate a model whose layers are all of the kinds {sorted(KINDS)}",
            )
        super().__init__(model, tokenizer, name=name, digest=digest, eos=eos, pad=pad)

    def prompt(self, question: Question, task: Task, *, visual: int | None = None) -> Prompt:
        """One turn of a user; as it is where the tokenizer has no chat template."""
        if question.media or visual is not None:
            asked = f"question {question.id} with {len(question.media)} media" if question.media else f"level {visual}"
            raise ConfigError(
                what=f"{asked} for {self.name}, which reads text alone",
                why="asked without its pictures, the answer would say nothing about the model",
                fix="leave the task and the knob `visual` out for this model",
            )
        text = plain_text(self.tokenizer, worded(question, task.instruction), question)
        chat = self.tokenizer.chat_template is not None
        if chat:
            turns = [{"role": "user", "content": text}]
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer(text, add_special_tokens=not chat)["input_ids"]
        return Prompt.of_text(np.array(ids, dtype=np.int64))

    @torch.inference_mode()
    def embeddings(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        """Of the tokens alone."""
        found: torch.Tensor = self.model.get_input_embeddings()(sent(self._padded_ids(prompts), self.device))
        return found

    def _whole_masks(self, visibility: Visibility) -> torch.Tensor:
        # Which form the layers want differs between classes (windows, slopes): each makes its own of this one.
        return sent(visibility.levels >= 0, self.device)

    def _step_masks(self, mask: torch.Tensor) -> torch.Tensor:
        return mask

"""A model that is evaluated, whatever its class: prompts on the host, then three parts that run on its device.

The parts are called one after the other by the engine, and apart by whoever measures how long each takes: none waits
for the device, and none does the work of another. Masks are prepared on the host, because the stock classes ask the
device whether a mask is needed. Source: nine-datasets spec sections 6 and 7.

Shapes: N prompts, left-padded to L tokens; T tokens since their start; D hidden size; V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trackyard.evaluate.answering.prompt import Flags, Ints, Prompt
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.visibility import NOT_VISUAL, PADDING_LEVEL, Visibility
from trackyard.models.sending import sent


class Subject(ABC):
    """A stock model with its tokenizer. name: for people; digest: of weights, configuration and tokenizer.

    eos: ids that end an answer. levels_matter: the visual level changes what the model is shown; default_level: the one
    that `None` stands for, None where there are no pictures.
    """

    levels_matter: bool
    default_level: int | None

    def __init__(self, model: Any, tokenizer: Any, *, name: str, digest: str, eos: frozenset[int], pad: int) -> None:
        """The model is set to evaluation."""
        self.model: Any = model.eval()
        self.tokenizer = tokenizer
        self.name, self.digest, self.eos, self.pad = name, digest, eos, pad

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        found: torch.device = next(self.model.parameters()).device
        return found

    @abstractmethod
    def prompt(self, question: Question, task: Task, *, visual: int | None = None) -> Prompt:
        """Decode, resize and tokenise, on the host. visual: the level; None is `default_level`.

        ConfigError for a question or a level that the model does not know, DataError for one that cannot be asked,
        UnreadableMedia for its pictures.
        """

    def text(self, ids: Sequence[int]) -> str:
        """An answer in words, without special tokens."""
        found: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return found

    @abstractmethod
    def embeddings(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        """[N, L, D] with the pictures put in: vision tower, connector, and the table of embeddings."""

    @torch.inference_mode()
    def first(self, prompts: Sequence[Prompt], embeddings: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits [N, V] of the first token of each answer, fp32; `cache` is filled with all L tokens."""
        valid = left_padded([np.ones(len(prompt), dtype=np.bool_) for prompt in prompts], False)
        blocks = left_padded([prompt.blocks for prompt in prompts], NOT_VISUAL)
        levels = np.where(valid, 0, PADDING_LEVEL).astype(np.int32)
        masks = self._whole_masks(Visibility(levels=levels, spans=blocks.astype(np.int32)))
        positions = sent(np.maximum(valid.cumsum(axis=1) - 1, 0), self.device)
        return self._logits(embeddings, masks, positions, cache)

    @torch.inference_mode()
    def next(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits [N, V] after one more token, fp32. ids, positions: [N, 1]; mask: bool [N, T], the new token in it."""
        return self._logits(self.model.get_input_embeddings()(ids), self._step_masks(mask), positions, cache)

    @abstractmethod
    def _whole_masks(self, visibility: Visibility) -> Any:
        """What the model's class takes as the mask of whole prompts."""

    @abstractmethod
    def _step_masks(self, mask: torch.Tensor) -> Any:
        """What the model's class takes as the mask of one new token in each row."""

    def _logits(self, embeddings: torch.Tensor, masks: Any, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        logits_NV: torch.Tensor = self.model(
            inputs_embeds=embeddings,
            attention_mask=masks,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits_NV.float()

    def _padded_ids(self, prompts: Sequence[Prompt]) -> Ints:
        return left_padded([prompt.ids for prompt in prompts], self.pad)


def left_padded(rows: Sequence[NDArray[Any]], fill: int | bool) -> NDArray[Any]:
    """[N, L]: every row ends at the last column."""
    length = max(len(row) for row in rows)
    return np.stack([np.pad(row, (length - len(row), 0), constant_values=fill) for row in rows])


def places(prompts: Sequence[Prompt]) -> Ints:
    """Where the placeholders of all prompts lie in the flattened [N * L], in rising order."""
    visual: Flags = left_padded([prompt.visual for prompt in prompts], False)
    return np.flatnonzero(visual)

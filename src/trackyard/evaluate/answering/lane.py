"""Rows that are answered together, on the device: their cache, what each sees, and where it goes on.

Shapes: N rows; T tokens that the cache holds of each, padded on the left; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F

from trackyard.evaluate.answering import cache
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject, left_padded
from trackyard.models.sending import sent


@dataclass(kw_only=True, slots=True)
class Lane:
    """mask: bool [N, T], False at padding. positions: int64 [N], of the next token. chosen: int64 [N], that token."""

    cache: Any
    mask: torch.Tensor
    positions: torch.Tensor
    chosen: torch.Tensor

    @classmethod
    def read(cls, subject: Subject, prompts: Sequence[Prompt]) -> tuple[Self, torch.Tensor]:
        """Read prompts; the lane that they make, and the logits [N, V] of their first tokens, none of them chosen."""
        filled = cache.new_cache()
        logits_NV = subject.first(prompts, subject.embeddings(prompts), filled)
        valid = left_padded([np.ones(len(prompt), dtype=np.bool_) for prompt in prompts], False)
        positions = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        lane = cls(
            cache=filled,
            mask=sent(valid, subject.device),
            positions=sent(positions, subject.device),
            chosen=torch.zeros(len(prompts), dtype=torch.int64, device=subject.device),
        )
        return lane, logits_NV

    def step(self, subject: Subject) -> torch.Tensor:
        """Read the chosen tokens; the logits [N, V] of the next ones."""
        self.mask = F.pad(self.mask, (0, 1), value=True)
        logits_NV = subject.next(self.chosen[:, None], self.mask, self.positions[:, None], self.cache)
        self.positions = self.positions + 1
        return logits_NV

    def keep(self, rows: Sequence[int], *, columns: int) -> None:
        """Keep these rows; of the cache the last `columns`, which are as many as the longest of them has."""
        index = sent(np.array(rows, dtype=np.int64), self.mask.device)
        start = self.mask.shape[1] - columns
        cache.keep(self.cache, index, start)
        self.mask = self.mask[:, start:].index_select(0, index)
        self.positions, self.chosen = self.positions.index_select(0, index), self.chosen.index_select(0, index)

    def join(self, other: Lane) -> None:
        """Put the rows of another lane behind these."""
        cache.join(self.cache, other.cache)
        length = max(self.mask.shape[1], other.mask.shape[1])
        masks = [F.pad(mask, (length - mask.shape[1], 0), value=False) for mask in (self.mask, other.mask)]
        self.mask = torch.cat(masks)
        self.positions = torch.cat([self.positions, other.positions])
        self.chosen = torch.cat([self.chosen, other.chosen])

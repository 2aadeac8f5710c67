"""Greedy answers and likelihoods of options: prompts as they were built, the stock language model, its cache.

Prompts are expanded before anything is cached; nothing grows inside, which once cut the last tokens off every prompt.
A row's answer does not depend on the rows beside it, but for rounding: padding on the left is seen by nobody, and
positions start behind it. Source: theworld spec sections 5, 12.2 and 18.

Shapes: N prompts of L tokens, padded; Q new tokens; K = L + tokens since; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from trackyard.errors import ConfigError
from trackyard.models.sending import sent
from trackyard.models.theworld.batch import WorldSample, left_padded
from trackyard.models.theworld.model import TheWorld

BATCH = 8
"""Prompts at a time, unless the caller says otherwise."""


@torch.inference_mode()
def generate(
    model: TheWorld, items: Sequence[WorldSample], max_new_tokens: int, *, batch: int = BATCH
) -> list[list[int]]:
    """The greedy answer of each prompt as ids, without the token that ended it."""
    found: list[list[int]] = [[] for _ in items]
    with _evaluating(model):
        for rows in _by_length(items, batch):
            for row, answer in zip(rows, _answers(model, [items[row] for row in rows], max_new_tokens), strict=True):
                found[row] = answer
    return found


@torch.inference_mode()
def option_scores(
    model: TheWorld, items: Sequence[WorldSample], options: Sequence[Sequence[Sequence[int]]], *, batch: int = BATCH
) -> list[NDArray[np.float64]]:
    """Log-likelihood of each option of each prompt, in nats, summed over its tokens.

    options: for each item, the ids of each of its options. Each prompt is read once.
    """
    found = [np.zeros(len(own), dtype=np.float64) for own in options]
    if any(not len(option) for own in options for option in own):
        raise ConfigError(
            what="an option without tokens",
            why="nothing to say is the likeliest answer, whatever the question",
            fix="tokenize options without special tokens, and leave empty ones out",
        )
    with _evaluating(model):
        for rows in _by_length(items, batch):
            started = Started.of(model, [items[row] for row in rows])
            for number in range(max(len(options[row]) for row in rows)):
                asked = [options[row][number] if number < len(options[row]) else () for row in rows]
                for row, option, score in zip(rows, asked, started.scores(asked), strict=True):
                    if option:
                        found[row][number] = score
    return found


@torch.inference_mode()
def first_logits(model: TheWorld, items: Sequence[WorldSample], *, batch: int = BATCH) -> torch.Tensor:
    """Logits [N, V] in fp32, on the host, of the first token of each answer: what the audit of the branch compares."""
    found: dict[int, torch.Tensor] = {}
    with _evaluating(model):
        for rows in _by_length(items, batch):
            logits_NV = Started.of(model, [items[row] for row in rows]).logits_NV.cpu()
            found |= dict(zip(rows, logits_NV, strict=True))
    return torch.stack([found[row] for row in range(len(items))])


@dataclass
class Started:
    """Prompts that have been read: their cache, and the logits [N, V] of what comes next, in fp32."""

    model: TheWorld
    cache: Any
    levels_NK: torch.Tensor
    """Below 0 at padding."""
    positions_N: torch.Tensor
    """Of the next token."""
    logits_NV: torch.Tensor

    @classmethod
    def of(cls, model: TheWorld, items: Sequence[WorldSample]) -> Started:
        """Read all prompts at once. Nothing but `WorldPrompts.build` without an answer makes such a prompt."""
        for prompt, *_ in items:
            if len(prompt.input_ids) != prompt.prompt_len:
                raise ConfigError(
                    what=f"a prompt of {prompt.prompt_len} tokens with {len(prompt.input_ids)} ids",
                    why="the answer would be in the question, or a part of the question would be lost",
                    fix="build it with WorldPrompts.build and no answer",
                )
        device = model.gemma.device
        rows = left_padded(items, model.layout.pad_id)
        cache = DynamicCache()
        hidden_NLD = model.language(
            model.embeddings(rows, device),
            sent(rows.positions, device),
            model.masks(rows.visibility(), device, dense=True),
            cache,
        )
        return cls(
            model=model,
            cache=cache,
            levels_NK=sent(rows.segments, device),
            positions_N=sent(rows.positions[:, -1] + 1, device),
            logits_NV=model.head(hidden_NLD[:, -1]).float(),
        )

    def read(self, tokens_NQ: torch.Tensor) -> torch.Tensor:
        """Go on with Q tokens in each row; their logits [N, Q, V] in fp32."""
        count, new = tokens_NQ.shape
        self.levels_NK = torch.cat([self.levels_NK, self.levels_NK.new_zeros((count, new))], dim=1)
        length = self.levels_NK.shape[1]
        keys = torch.arange(length, device=tokens_NQ.device)
        back_QK = keys[length - new :, None] - keys[None]
        whole = (back_QK >= 0)[None, None] & (self.levels_NK >= 0)[:, None, None]
        near = whole & (back_QK < self.model.config.get_text_config().sliding_window)
        hidden_NQD = self.model.language(
            self.model.gemma.get_input_embeddings()(tokens_NQ),
            self.positions_N[:, None] + torch.arange(new, device=tokens_NQ.device),
            {"full_attention": whole, "sliding_attention": near},
            self.cache,
        )
        self.positions_N = self.positions_N + new
        logits_NQV: torch.Tensor = self.model.head(hidden_NQD).float()
        return logits_NQV

    def back(self, tokens: int) -> None:
        """Forget the last tokens."""
        if tokens:
            self.cache.crop(-tokens)
            self.levels_NK, self.positions_N = self.levels_NK[:, :-tokens], self.positions_N - tokens

    def scores(self, options: Sequence[Sequence[int]]) -> list[float]:
        """Log-likelihood of an option in each row, 0 where there is none; the rows stay where they are."""
        longest = max(len(option) for option in options)
        tokens = np.full((len(options), longest), self.model.layout.pad_id, dtype=np.int64)
        counted = np.zeros((len(options), longest), dtype=np.bool_)
        for row, option in enumerate(options):
            tokens[row, : len(option)], counted[row, : len(option)] = option, True
        tokens_NQ = sent(tokens, self.logits_NV.device)
        logits_NQV = self.logits_NV[:, None]
        if longest > 1:
            # Behind the end of a shorter option there is padding, which comes too late for anything that counts.
            logits_NQV = torch.cat([logits_NQV, self.read(tokens_NQ[:, :-1])], dim=1)
            self.back(longest - 1)
        likely_NQ = logits_NQV.log_softmax(dim=-1).gather(-1, tokens_NQ[..., None])[..., 0].double()
        return (likely_NQ * sent(counted, likely_NQ.device)).sum(dim=1).tolist()


def _answers(model: TheWorld, items: Sequence[WorldSample], max_new_tokens: int) -> list[list[int]]:
    started = Started.of(model, items)
    stops = torch.tensor(model.layout.stop_ids, device=started.logits_NV.device)
    chosen, going = [], torch.ones(len(items), dtype=torch.bool, device=stops.device)
    logits_NV = started.logits_NV
    for step in range(max_new_tokens):
        token_N = logits_NV.argmax(dim=-1)
        chosen.append(token_N)
        going &= ~torch.isin(token_N, stops)
        if step + 1 == max_new_tokens or not bool(going.any()):
            break
        logits_NV = started.read(token_N[:, None])[:, 0]
    if not chosen:
        return [[] for _ in items]
    return [_until(row, model.layout.stop_ids) for row in torch.stack(chosen, dim=1).tolist()]


def _until(tokens: list[int], stops: Sequence[int]) -> list[int]:
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens))
    return tokens[:end]


def _by_length(items: Sequence[WorldSample], batch: int) -> Iterator[list[int]]:
    """Items by their number, `batch` of similar length at a time."""
    order = sorted(range(len(items)), key=lambda number: len(items[number][0].input_ids))
    yield from (order[at : at + batch] for at in range(0, len(order), batch))


@contextmanager
def _evaluating(model: TheWorld) -> Iterator[None]:
    """Layers that compute activations again while they train fill no cache."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)

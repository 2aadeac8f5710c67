"""Greedy answers of a Molmo2 that is in memory, for prompts that the feed has made: a thin caller of the engine.

Source: molmo2 spec section 14 (inference), nine-datasets spec (identical answers at any batch size).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trackyard.evaluate.answering.engine import answer
from trackyard.evaluate.answering.molmo2 import Molmo2Subject
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.sample import Sample
from trackyard.feed.tokens import TokenTable


def generate(
    model: torch.nn.Module,
    prompts: Sequence[Sample],
    tokens: TokenTable,
    geometry: VisionGeometry,
    *,
    max_new_tokens: int,
) -> list[str]:
    """One greedy answer per prompt, all of them answered together, without special tokens."""
    # The prompts are made, so how videos become frames is not asked any more.
    subject = Molmo2Subject(model, tokens, geometry, VideoParameters())
    asked = [(number, subject.prompt_of(prompt), max_new_tokens) for number, prompt in enumerate(prompts)]
    answers = dict(answer(subject, asked, batch=max(1, len(asked))))
    return [subject.text(answers[number].tokens) for number in range(len(prompts))]

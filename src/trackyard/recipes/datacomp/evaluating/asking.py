"""Asking a model about items: pictures, latents and prompts in, likelihoods of options and generated text out.

Every prompt comes from the one builder, every picture with its latent; an item that cannot be asked stops the stage.
Source: theworld spec sections 9 and 12.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.feed.gemma_pixels import gemma_pixels
from trackyard.feed.tree import NO_TARGET
from trackyard.feed.world_prompts import WorldPrompts
from trackyard.models.theworld.batch import WorldSample
from trackyard.models.theworld.generation import generate, option_scores
from trackyard.models.theworld.model import TheWorld
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.latent_source import PictureLatents
from trackyard.recipes.datacomp.evaluating.scoring import Answer, EvalSet

AHEAD = 4
"""Batches whose pictures are in memory at a time, so that prompts of similar length meet."""
DECODERS = 4


@dataclass(kw_only=True)
class Asker:
    """One model, ready to be asked. latents: None with the world branch off. batch: prompts at a time."""

    model: TheWorld
    prompts: WorldPrompts
    tokenizer: Any
    latents: PictureLatents | None
    batch: int
    _options: dict[str, list[int]] = field(default_factory=dict, init=False)

    def answers(self, of: EvalSet, items: Iterator[Item], *, new_tokens: int) -> Iterator[tuple[Item, Answer]]:
        """Every item with what the model says of it, in order. new_tokens: of a generated answer, at most."""
        while group := list(islice(items, AHEAD * self.batch)):
            yield from zip(group, self._answers(of, group, new_tokens), strict=True)

    def samples(self, items: Sequence[Item]) -> list[WorldSample]:
        """Prompts of items with their pictures and latents. Raises Unusable, UnreadableMedia, DataError."""
        size = self.model.config.vision_config.image_size
        with ThreadPoolExecutor(DECODERS) as pool:
            pixels = pool.map(lambda item: _pixels(item, size), items)
            return [
                WorldSample(
                    self.prompts.build(item.question, images=len(item.images)),
                    shown,
                    None if self.latents is None else self.latents.of(item.pictures),
                )
                for item, shown in zip(items, pixels, strict=True)
            ]

    def _answers(self, of: EvalSet, items: Sequence[Item], new_tokens: int) -> list[Answer]:
        samples = self.samples(items)
        logliks: list[tuple[float, ...]] = [()] * len(items)
        tokens: list[tuple[int, ...]] = [()] * len(items)
        if of.compares:
            options = [[self._option(option, ends=of.ends) for option in item.options] for item in items]
            scores = option_scores(self.model, samples, options, batch=self.batch)
            logliks = [tuple(float(value) for value in own) for own in scores]
            tokens = [tuple(len(option) for option in own) for own in options]
        texts: list[str | None] = [None] * len(items)
        lengths: list[int | None] = [None] * len(items)
        if of.generates is not None:
            written = generate(self.model, samples, new_tokens, batch=self.batch)
            texts = [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
            lengths = [len(ids) for ids in written]
        return [
            Answer(logliks=own, tokens=counts, text=text, length=length)
            for own, counts, text, length in zip(logliks, tokens, texts, lengths, strict=True)
        ]

    def _option(self, option: str, *, ends: bool) -> list[int]:
        """Ids of an option as training would teach it. ends: with the end of the turn."""
        if option not in self._options:
            labels = self.prompts.build("", answer=option).labels
            self._options[option] = labels[labels != NO_TARGET].tolist()
        ids = self._options[option]
        return ids if ends else ids[:-1]


def _pixels(item: Item, size: int) -> NDArray[np.float32]:
    """float32 [images, 3, size, size]."""
    return np.stack([gemma_pixels(image, item.id, size) for image in item.images])

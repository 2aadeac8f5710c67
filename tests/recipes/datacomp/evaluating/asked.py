"""A tiny model with random weights, ready to be asked about made items; latents are noise that is kept by picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.feed.gemma_tokenizer import gemma_tokenizer
from tests.models.theworld.tiny import LATENT, world
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.recipes.datacomp.cells import Branch
from trackyard.recipes.datacomp.evaluating.asking import Asker
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.latent_source import PictureLatents
from trackyard.recipes.datacomp.evaluating.made_items import made_items
from trackyard.recipes.datacomp.evaluating.scoring import EvalSet, Record


class NoiseLatents:
    """float16 latents drawn from the picture's own digest."""

    def many(self, images: Sequence[str]) -> np.ndarray:
        drawn = [np.random.default_rng(int(image[:16], 16)).standard_normal(LATENT) for image in images]
        return np.stack(drawn).astype(np.float16)


def items_of(name: str, count: int) -> list[Item]:
    return list(made_items(name, seed=0, count=count))


def asker(
    parameters: WorldParameters | None = WorldParameters(),  # noqa: B008
    *,
    branch: Branch = "on",
    batch: int = 8,
    soft_prompt: bool = False,
    pictures: Sequence[str] | None = None,
    model: TheWorld | None = None,
) -> Asker:
    """parameters: None is the world off. model: another than the new one; its prompts are the same."""
    made, builder = world(parameters, soft_prompt=soft_prompt)
    names = [name for item in items_of("blink", 24) for name in item.pictures] if pictures is None else pictures
    return Asker(
        model=model or made,
        prompts=builder,
        tokenizer=gemma_tokenizer(),
        latents=None if parameters is None else PictureLatents(NoiseLatents(), branch, names),
        batch=batch,
    )


def records(of: EvalSet, asked: Asker, items: Sequence[Item], *, new_tokens: int = 8) -> list[Record]:
    return [of.record(item, answer) for item, answer in asked.answers(of, iter(items), new_tokens=new_tokens)]

"""Whether pictures reach the model through the world branch on the way that evaluation takes, before it is taken.

A published system was evaluated with a branch that never saw an image, and nothing was raised. Here the logits of the
first generated token must move when the latent does, and as many latents must be read as there are pictures.
Source: theworld spec sections 6 and 18.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from trackyard.models.theworld.batch import WorldSample
from trackyard.models.theworld.branch import SoftPrompt
from trackyard.models.theworld.generation import first_logits
from trackyard.recipes.datacomp.evaluating.asking import Asker
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.train.audit import AuditError

LEAST = 1e-4
"""By which logits must move, in fp32."""
PICTURES = 4
"""Distinct pictures that are looked at, at least."""
SEED = 0
"""Of the noise."""


class BranchDisconnected(AuditError):
    """What is evaluated is not the model that it is said to be."""


def audit_items(items: Iterator[Item]) -> list[Item]:
    """The first items about `PICTURES` distinct pictures, or fewer if there are no more; none about the same."""
    seen: set[str] = set()

    def other(item: Item) -> bool:
        fresh = not seen & set(item.pictures)
        seen.update(item.pictures)
        return fresh

    return list(islice(filter(other, items), PICTURES))


def audit_branch(asker: Asker, items: Sequence[Item]) -> dict[str, Any]:
    """Body of the result `audit_branch`. asker: with the pictures' own latents. BranchDisconnected if it fails."""
    model = asker.model
    read, given = model.images_read, 0 if asker.latents is None else asker.latents.given
    samples = asker.samples(items)
    images = sum(len(item.images) for item in items)
    before = first_logits(model, samples, batch=asker.batch)
    reads = model.images_read - read
    handed = 0 if asker.latents is None else asker.latents.given - given
    body = {"items": len(items), "images": images, "latent_reads": reads, "least": LEAST}
    if model.world is None:
        blocks = sum(len(sample.prompt.world_spans) for sample in samples)
        if reads or handed or blocks:
            raise _failed(f"the branch is off, and {reads} latents were read and {blocks} world blocks are in prompts")
        return body | {"branch": "off", "moves": {}}
    if not reads == handed == images:
        raise _failed(f"{handed} latents were handed over and {reads} read for {images} pictures")
    moves = {
        name: _least_move(before, first_logits(model, changed, batch=asker.batch))
        for name, changed in _variants(samples).items()
    }
    if isinstance(model.world, SoftPrompt):
        # Its vectors are the same whatever the picture: that they are is what makes it a control.
        moved = [name for name, value in moves.items() if value > 0]
        if moved:
            raise _failed(f"free vectors, and logits move with the latent ({', '.join(moved)})")
        return body | {"branch": "free vectors", "moves": moves}
    if model.world.adds and not model.world.alpha.any():
        return body | {"branch": "gate closed", "moves": moves}
    still = [f"{name} {value:.2e}" for name, value in moves.items() if value <= LEAST]
    if still:
        raise _failed(f"logits of the first token move by at most {LEAST:g} with another latent: {', '.join(still)}")
    return body | {"branch": "connected", "moves": moves}


def require_reads(asker: Asker, images: int, *, passes: int, read: int, given: int) -> int:
    """Latents that a set took, after it: each picture's once, and the branch once in every pass over the prompts.

    read, given: counts before it. BranchDisconnected if any is missing, or one was read with the branch off.
    """
    reads = asker.model.images_read - read
    handed = 0 if asker.latents is None else asker.latents.given - given
    wanted = (0, 0) if asker.model.world is None else (images * passes, images)
    if (reads, handed) != wanted:
        raise _failed(
            f"{handed} latents were handed over and {reads} read for {images} pictures in {passes} passes, "
            f"not {wanted[1]} and {wanted[0]}"
        )
    return reads


def _variants(samples: Sequence[WorldSample]) -> dict[str, list[WorldSample]]:
    """The same prompts and pictures with other latents. A sample's own shape stays."""
    own = [np.asarray(sample.latents) for sample in samples]
    flat = np.concatenate(own)
    counts = np.cumsum([len(latents) for latents in own])[:-1]
    noise = np.random.default_rng(SEED).standard_normal(flat.shape).astype(flat.dtype)
    made = {"another": np.roll(flat, 1, axis=0), "zeros": np.zeros_like(flat), "noise": noise}
    return {
        name: [
            sample._replace(latents=latents) for sample, latents in zip(samples, np.split(latents, counts), strict=True)
        ]
        for name, latents in made.items()
    }


def _least_move(before_NV: torch.Tensor, after_NV: torch.Tensor) -> float:
    """Of the items, the one whose logits moved least: the largest change of any of them."""
    return float((after_NV - before_NV).abs().amax(dim=-1).min())


def _failed(what: str) -> BranchDisconnected:
    return BranchDisconnected(
        what=what,
        why="what would be measured is not what the arm says: a world branch that sees each picture, or none at all",
        fix="see how prompts, latents and branch are put together (recipes/datacomp/evaluating/asking.py, "
        "models/theworld/model.py); then run the evaluation of this arm again",
    )

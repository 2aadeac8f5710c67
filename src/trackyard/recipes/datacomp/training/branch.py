"""What changes when the world branch is given something else than a picture's own latent: as training computes it.

Source: theworld spec section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from trackyard.errors import DataError
from trackyard.models.theworld.batch import WorldBatch
from trackyard.recipes.datacomp.training.forward import supervised_logits

NOISE_SEED = 0


def replaced_latents(batch: WorldBatch) -> dict[str, WorldBatch]:
    """The batch with latents of other pictures of it, zeros, and noise. DataError for fewer than two latents, or where
    all are the same: another one would be the own."""
    latents = batch.latents
    if latents is None or len(latents) < 2 or (latents == latents[:1]).all():
        raise DataError(
            what=f"{0 if latents is None else len(latents)} latents in a micro-batch, not two different ones",
            why="whether the branch tells pictures apart cannot be asked",
            fix="set datacomp.engine.micro_batch in params.yaml to 2 or more",
        )
    noise = np.random.default_rng(NOISE_SEED).standard_normal(latents.shape).astype(latents.dtype)
    others = {"another": np.roll(latents, 1, axis=0), "zeros": np.zeros_like(latents), "noise": noise}
    return {name: replace(batch, latents=other) for name, other in others.items()}


def changes(model: torch.nn.Module, batch: WorldBatch) -> Mapping[str, float]:
    """Largest change of a supervised logit by each replacement."""
    own_AV = supervised_logits(model, batch)
    return {
        name: float((supervised_logits(model, other) - own_AV).abs().max())
        for name, other in replaced_latents(batch).items()
    }

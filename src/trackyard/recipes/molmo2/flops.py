"""Floating-point operations of a Molmo2 step, from what its packs hold. Source: performance spec section 4."""

from __future__ import annotations

from trackyard.models.presets import PRESETS
from trackyard.recipes.molmo2.prepare import Prepared
from trackyard.train.flops import molmo2_work, step_flops


def flops_of(prepared: Prepared, *, tokens: float, answers: float, pairs: float, crops: float, pooled: float) -> float:
    """FLOP of packs with so many tokens, answers, allowed pairs, crops and pooled features, at the preset's sizes."""
    parameters = prepared.parameters
    rates = parameters.stage(prepared.stage).optimiser.rates
    geometry = parameters.geometry
    return step_flops(
        molmo2_work(
            PRESETS[parameters.model.preset],
            tokens=tokens,
            answers=answers,
            pairs=pairs,
            crops=crops,
            pooled=pooled,
            window=max(geometry.image_pooling, geometry.video_pooling) ** 2,
            trained=[name for name, rate in rates.items() if rate.learning_rate > 0],
            patches=geometry.patches,
        )
    )

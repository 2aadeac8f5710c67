"""Whether the steps of a stage can be divided over the ranks, decided from parameters alone.

Source: molmo2 spec section 12.
"""

from __future__ import annotations

from trackyard.models.context_degree import BLOCK
from trackyard.models.presets import PRESETS
from trackyard.plan.context import check_degree, padded_length
from trackyard.recipes.molmo2.parameters import Molmo2Parameters, StageName
from trackyard.train.parameters import accumulation


def check_division(parameters: Molmo2Parameters, stage: StageName, world: int) -> None:
    """ConfigError unless packs, tokens, attention heads and micro-batches divide over `world` ranks."""
    settings, engine, shape = parameters.stage(stage), parameters.engine_of(stage), PRESETS[parameters.model.preset]
    degree = engine.context_degree
    check_degree(
        degree,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        length=padded_length(settings.max_tokens, degree, BLOCK),
        world=world,
        ranks=world // degree,
    )
    accumulation(settings.packs_per_step, engine.micro_batch, world // degree)

"""Groups of AdamW: the branch's matrices decay, its biases, boundaries and gain do not; thawed parts have their rates.

Source: theworld spec sections 6 and 10.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from trackyard.models.theworld.model import WORLD, TheWorld
from trackyard.recipes.datacomp.parameters import TrainingParameters
from trackyard.train.engine import Engine, StepResult
from trackyard.train.parameters import ComponentRate, OptimiserParameters

MATRICES = "world_matrices"
"""Component of what decays; all else of the branch is `world`."""


def component_of(name: str) -> str:
    """Group of a trained tensor."""
    return MATRICES if TheWorld.decays(name) else TheWorld.component_of(name)


def optimiser_of(training: TrainingParameters, trained: Iterable[str]) -> OptimiserParameters:
    """trained: names of the model's tensors."""
    own: dict[str, float] = {str(WORLD): training.learning_rate, MATRICES: training.learning_rate} | {
        str(part): rate for part, rate in training.thawed_rates.items()
    }
    warmup = training.warmup_steps
    groups = sorted({component_of(name) for name in trained})
    return OptimiserParameters(
        rates={group: ComponentRate(learning_rate=own[group], warmup_steps=warmup) for group in groups},
        schedule="linear",
        beta1=training.beta1,
        beta2=training.beta2,
        eps=training.eps,
        weight_decay=training.weight_decay,
        clip_norm=training.clip_norm,
    )


def group_settings(optimiser: OptimiserParameters) -> Mapping[str, Mapping[str, float]]:
    """AdamW's `weight_decay` of each group."""
    return {group: {"weight_decay": optimiser.weight_decay if group == MATRICES else 0.0} for group in optimiser.rates}


class WorldEngine(Engine):
    """The common engine with rates counted from 1: the first update has the rate peak / warm-up, not 0.

    It is made with one step more than the run has, so that the last update has a rate as well. Behind a gate of 0 the
    first gradient of everything else is 0; its rate is reported as 0 then, since such an update is no evidence that
    anything trains.
    """

    behind_gate: Collection[str] = ()
    """Groups without a gradient in the first update."""

    def step(self, number: int, micro_batches: Iterable[Any], weight: float) -> StepResult:
        """As `Engine.step`."""
        result = super().step(number + 1, micro_batches, weight)
        if number == 0 and self.behind_gate:
            return replace(result, rates=result.rates | dict.fromkeys(self.behind_gate, 0.0))
        return result

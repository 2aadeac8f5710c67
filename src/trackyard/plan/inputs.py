"""All that a plan depends on, and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_bytes
from trackyard.errors import ConfigError
from trackyard.plan.mixture import Mixture, MixtureParameters
from trackyard.plan.packing import IMAGE_WEIGHT, NODES, POOL, Budget
from trackyard.plan.row_table import spans

ALGORITHM = 2
"""Raised whenever the same inputs would give another plan, so that an old plan is never taken for a new one."""
COLUMNS = ("rows", "tokens", "visual", "inputs", "labels")

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class DatasetInput:
    """Usable rows of one dataset and their lengths, all arrays [n] aligned.

    rows: row numbers in the snapshot; tokens: sequence length with visual tokens; visual: visual tokens; inputs: image
    crops and video frames; labels: tokens that carry loss. excluded: rows left out of `rows`, by reason. changed: what
    was dropped or changed of the rows that are used, by what it is.
    """

    manifest_fingerprint: str
    index_fingerprint: str
    rows: Ints
    tokens: Ints
    visual: Ints
    inputs: Ints
    labels: Ints
    excluded: Mapping[str, int]
    changed: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ConfigError(
                what=f"index columns of different lengths: {lengths}",
                why="lengths would be read from the wrong rows",
                fix="`rm -r artifacts/index` and run the stage again: rows are measured anew",
            )

    @property
    def columns(self) -> tuple[Ints, ...]:
        """The arrays in the order of `COLUMNS`."""
        return tuple(getattr(self, name) for name in COLUMNS)


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """All that a plan depends on.

    packs_per_step: B; image_weight: tokens one input is worth, 1 in stage 1; strict: refuse an incomplete mixture.
    """

    datasets: Mapping[str, DatasetInput]
    mixture: MixtureParameters
    budget: Budget
    packs_per_step: int
    steps: int
    seed: int
    image_weight: int = IMAGE_WEIGHT
    strict: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.packs_per_step < 1 or self.image_weight < 0:
            raise ConfigError(
                what=f"plan of {self.steps} steps with {self.packs_per_step} packs, image weight {self.image_weight}",
                why="a plan has at least one pack, and a negative weight would pack images last",
                fix="set steps and batch size to at least 1 and the image weight to at least 0",
            )

    @property
    def packs(self) -> int:
        """Packs of all steps."""
        return self.steps * self.packs_per_step


def identity(inputs: PlanInputs, mixture: Mixture, datasets: Mapping[str, DatasetInput]) -> dict[str, Any]:
    """The `inputs` of plan.json, of which the plan is a function. Datasets outside the mixture are no part of it.

    datasets: those of the mixture, in the order of their numbers in the plan.
    """
    row_numbers = spans([data.rows for data in datasets.values()])
    return {
        "algorithm": ALGORITHM,
        "datasets": [
            {
                "name": name,
                "manifest": data.manifest_fingerprint,
                "index": data.index_fingerprint,
                "usable": len(data.rows),
                "row_numbers": row_numbers[number],
                "columns": [digest_bytes(column.astype("<i8").tobytes()) for column in data.columns],
                "excluded": dict(data.excluded),
            }
            for number, (name, data) in enumerate(datasets.items())
        ],
        # Loss weights change no plan.
        "mixture": inputs.mixture.model_dump(mode="json", exclude={"loss_weights"}),
        # In order, since order breaks ties between draws and canonical JSON forgets the order of keys.
        "rates": [[entry.name, entry.dataset, entry.rate] for entry in mixture.drawn],
        "budget": {"tokens": inputs.budget.tokens, "inputs": inputs.budget.inputs},
        "packs_per_step": inputs.packs_per_step,
        "steps": inputs.steps,
        "seed": inputs.seed,
        "image_weight": inputs.image_weight,
        "pool": POOL,
        "nodes": NODES,
        "strict": inputs.strict,
    }

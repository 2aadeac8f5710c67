"""Which sample is trained on at which step, as data: N * E draws in S = ceil(N * E / B) steps of B.

Each epoch is a keyed permutation of all samples. Every step is whole: where N * E is no multiple of B, the last one is
filled with the first draws of one epoch more, at most B - 1. Equal for all runs of a seed.
Source: theworld spec section 10, design section 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_bytes
from trackyard.errors import DataError
from trackyard.plan.permutation import permutation_key, permute
from trackyard.plan.recorded import fingerprint_of
from trackyard.recipes.datacomp.training.lengths import Lengths
from trackyard.recipes.running.plan_file import keep_plan, plan_directory

SCHEMA = "trackyard-world-samples/1"
NAME = "datacomp"
"""Of the set of samples, in keys and records."""


@dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """A plan over one list of samples.

    curated: blake3 of the list; lengths: of the lengths of its samples in tokens. usable: N; left_out: the others, by
    cause. filled: draws of one epoch more in the last step. order: blake3 of all draws, int64 in order.
    """

    curated: str
    lengths: str
    usable: int
    left_out: Mapping[str, int]
    epochs: int
    samples_per_step: int
    steps: int
    filled: int
    seed: int
    order: str

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(SCHEMA, asdict(self))

    def directory(self, root: Path) -> Path:
        """Where the plan lies below the repository."""
        return plan_directory(root, self.fingerprint)

    def keep(self, root: Path) -> Path:
        """Write the plan unless it is there; returns its directory. IdentityError if what is there is another one."""
        return keep_plan(root, SCHEMA, asdict(self))


@dataclass(frozen=True)
class Draws:
    """The order that belongs to a seed. lengths: of all samples; some of them are left out."""

    lengths: Lengths
    samples_per_step: int
    seed: int

    @cached_property
    def _usable(self) -> NDArray[np.int64]:
        return self.lengths.usable

    def of_step(self, step: int) -> NDArray[np.int64]:
        """Numbers of the samples of a step, int64 [B], without a look at any other step."""
        count = len(self._usable)
        first = step * self.samples_per_step
        draws = np.arange(first, first + self.samples_per_step, dtype=np.int64)
        keys = {epoch: permutation_key(self.seed, NAME, int(epoch)) for epoch in np.unique(draws // count)}
        key = np.array([keys[epoch] for epoch in draws // count], dtype=np.uint64)
        return self._usable[permute(draws % count, count, key)]


def plan_samples(draws: Draws, *, curated: str, epochs: int) -> SamplePlan:
    """DataError if no sample can be used."""
    usable, per_step = len(draws.lengths.usable), draws.samples_per_step
    if not usable:
        raise DataError(
            what=f"none of {len(draws.lengths.tokens):,} samples can be used: {dict(draws.lengths.left_out)}",
            why="there is nothing to train on",
            fix="raise datacomp.world.max_length in params.yaml if they are too long, or look at what was curated",
        )
    steps = -(-usable * epochs // per_step)
    order = b"".join(draws.of_step(step).astype("<i8").tobytes() for step in range(steps))
    return SamplePlan(
        curated=curated,
        lengths=draws.lengths.digest,
        usable=usable,
        left_out=dict(draws.lengths.left_out),
        epochs=epochs,
        samples_per_step=per_step,
        steps=steps,
        filled=steps * per_step - usable * epochs,
        seed=draws.seed,
        order=digest_bytes(order),
    )

"""The feed: step and micro-batch number in, decoded packs out. No state, so a resume is only a start at another step.

The micro-batch is the unit of everything that decodes ahead (`feed.loader`): a step of 128 packs with 128 crops each is
7 GB, one of its micro-batches 55 MB. Source: design section 1, molmo2 spec section 9 (sampler state, rows that fail).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trackyard.feed.bad_rows import BadRow
from trackyard.feed.batch import Batch, Pack, collate, stack_packs
from trackyard.feed.layout import FeedParameters
from trackyard.feed.sample import Sample, load_sample
from trackyard.feed.tokens import TokenTable
from trackyard.plan.plan import Plan, PlannedRow, require_same_plan
from trackyard.snapshot.reader import SnapshotDataset

SPLIT = "train"


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of a micro-batch once it is decoded, without its tensors.

    rows: what it holds, in order. weights: sum of loss weights of each pack. groups: int64, the dataset number (index
    into `PlanFeed.names`) of every answer position in reading order. broken: rows that kept their place without loss.
    """

    rows: tuple[PlannedRow, ...]
    weights: tuple[float, ...]
    groups: NDArray[np.int64]
    broken: tuple[BadRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MicroBatch:
    """Packs of one forward pass, decoded."""

    batch: Batch
    facts: Facts


@dataclass(frozen=True, kw_only=True)
class StepFeed:
    """One rank's share of a step.

    batches: its micro-batches in order; read ahead they are handed over once and let go. weight: sum of the loss
    weights that were really decoded, known before the first micro-batch is used. rows, groups (one array per
    micro-batch) and broken: those of its micro-batches (see `Facts`).
    """

    step: int
    batches: Iterable[Batch]
    weight: float
    rows: list[PlannedRow]
    groups: list[NDArray[np.int64]]
    broken: list[BadRow]

    @classmethod
    def of(cls, step: int, facts: Sequence[Facts], batches: Iterable[Batch]) -> StepFeed:
        """Join what is known of the micro-batches; packs are summed in one order, however they are divided."""
        return cls(
            step=step,
            batches=batches,
            weight=float(sum(weight for one in facts for weight in one.weights)),
            rows=[row for one in facts for row in one.rows],
            groups=[one.groups for one in facts],
            broken=[row for one in facts for row in one.broken],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedSource:
    """A feed as another process can open it: paths and settings, a few kilobytes and the tokenizer.

    plan and fingerprint: of the plan's directory. datasets: by name, directory and the command that restores it.
    """

    plan: Path
    fingerprint: str
    datasets: Mapping[str, tuple[Path, str]]
    parameters: FeedParameters
    tokens: TokenTable
    rank: int
    world: int
    micro_batch: int

    def open(self) -> PlanFeed:
        """The same feed over files opened anew; IdentityError if another plan lies there now."""
        plan = Plan.open(self.plan)
        require_same_plan(self.fingerprint, plan.fingerprint, where=f"the run that reads {self.plan}")
        datasets = {name: SnapshotDataset.open(path, restore=fix) for name, (path, fix) in self.datasets.items()}
        return PlanFeed(
            plan,
            datasets,
            self.parameters,
            self.tokens,
            rank=self.rank,
            world=self.world,
            micro_batch=self.micro_batch,
        )


class PlanFeed:
    """Random access to the packs of a plan over opened training datasets."""

    def __init__(
        self,
        plan: Plan,
        datasets: Mapping[str, SnapshotDataset],
        parameters: FeedParameters,
        tokens: TokenTable,
        *,
        rank: int,
        world: int,
        micro_batch: int,
    ) -> None:
        self.plan = plan
        self.names = sorted(datasets)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._datasets, self._parameters, self._tokens = datasets, parameters, tokens
        self._rank, self._world, self._micro_batch = rank, world, micro_batch
        self._slots = range(rank, plan.packs_per_step, world)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of this rank in a step; the last one may hold fewer packs."""
        return -(-len(self._slots) // self._micro_batch)

    @property
    def micro_batch_bytes(self) -> int:
        """Most bytes of one decoded micro-batch: pixels and pooling windows of the plan's budget of inputs, tokens."""
        geometry, budget = self._parameters.geometry, self.plan.budget
        pooled = max(geometry.image_side**2, geometry.frame_side**2) * max(
            geometry.image_pooling, geometry.video_pooling
        ) ** 2  # fmt: skip
        per_input = geometry.patches * geometry.patch_values + pooled * 8
        per_token = 5 * 8 + 1 + 4
        return self._micro_batch * (budget.inputs * per_input + budget.tokens * per_token)

    @property
    def source(self) -> FeedSource:
        """What another process needs to open the same feed."""
        return FeedSource(
            plan=self.plan.directory,
            fingerprint=self.plan.fingerprint,
            datasets={name: (data.directory, data.restore) for name, data in self._datasets.items()},
            parameters=self._parameters,
            tokens=self._tokens,
            rank=self._rank,
            world=self._world,
            micro_batch=self._micro_batch,
        )

    def micro_batch(self, step: int, index: int) -> MicroBatch:
        """Decode micro-batch `index` (0 … micro_batches - 1) of this rank's share of a step.

        A row that cannot be decoded keeps its place with zero weight. Raises DataError for a damaged shard.
        """
        packs: list[Pack] = []
        groups: list[NDArray[np.int64]] = []
        rows: list[PlannedRow] = []
        broken: list[BadRow] = []
        for slot in self._slots[index * self._micro_batch : (index + 1) * self._micro_batch]:
            planned = self.plan.pack(step, slot)
            samples = [self._sample(row, broken) for row in planned]
            packs.append(
                collate(
                    samples, length=self.plan.budget.tokens, pad=self._tokens.pad, geometry=self._parameters.geometry
                )
            )
            answers = [int((sample.tree.weights > 0).sum()) for sample in samples]
            groups.append(np.repeat([self._numbers[row.dataset] for row in planned], answers))
            rows += planned
        return MicroBatch(
            batch=stack_packs(packs, geometry=self._parameters.geometry),
            facts=Facts(
                rows=tuple(rows),
                weights=tuple(float(pack.weights.sum(dtype=np.float64)) for pack in packs),
                groups=np.concatenate(groups),
                broken=tuple(broken),
            ),
        )

    def step(self, number: int) -> StepFeed:
        """Decode this rank's whole share of one step, now."""
        parts = [self.micro_batch(number, index) for index in range(self.micro_batches)]
        return StepFeed.of(number, [part.facts for part in parts], [part.batch for part in parts])

    def _sample(self, planned: PlannedRow, broken: list[BadRow]) -> Sample:
        row = self._datasets[planned.dataset].row(SPLIT, planned.row)
        sample = load_sample(row, planned.dataset, self._parameters, self._tokens)
        if sample.reason is not None:
            broken.append(BadRow(planned.dataset, planned.row, row.id, sample.reason))
        return sample

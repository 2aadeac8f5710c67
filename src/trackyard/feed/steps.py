"""The feed: step number in, decoded micro-batches out. No state, so a resume is only a start at another step.

Source: design section 1, molmo2 spec section 9 (sampler state, rows that fail to decode).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from trackyard.errors import DataError
from trackyard.feed.batch import Batch, Pack, collate, stack_packs
from trackyard.feed.layout import FeedParameters
from trackyard.feed.sample import Sample, load_sample
from trackyard.feed.tokens import TokenTable
from trackyard.plan.plan import Plan, PlannedRow
from trackyard.snapshot.reader import SnapshotDataset

LOOKAHEAD = 2
"""Steps decoded ahead of the one in use."""


@dataclass(frozen=True, kw_only=True)
class StepFeed:
    """One rank's share of a step.

    weight: sum of its loss weights. rows: what it holds, in order. groups: per micro-batch, the dataset number
    (index into `PlanFeed.names`) of every answer position in reading order. broken: rows that kept their place without
    loss, by reason.
    """

    step: int
    batches: list[Batch]
    weight: float
    rows: list[PlannedRow]
    groups: list[np.ndarray]
    broken: Counter[str] = field(default_factory=Counter)


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
        self._slots = range(rank, plan.packs_per_step, world)
        self._micro_batch = micro_batch

    def step(self, number: int) -> StepFeed:
        """Decode this rank's packs of one step. A row that cannot be decoded keeps its place with zero weight."""
        packs, groups, rows = [], [], []
        broken: Counter[str] = Counter()
        for slot in self._slots:
            planned = self.plan.pack(number, slot)
            samples = [self._sample(row, broken) for row in planned]
            packs.append(self._collate(samples))
            groups.append(
                np.concatenate(
                    [
                        np.full(int((sample.tree.weights > 0).sum()), self._numbers[row.dataset])
                        for row, sample in zip(planned, samples, strict=True)
                    ]
                )
            )
            rows.extend(planned)
        size = self._micro_batch
        starts = range(0, len(packs), size)
        return StepFeed(
            step=number,
            batches=[stack_packs(packs[at : at + size], geometry=self._parameters.geometry) for at in starts],
            weight=float(sum(pack.weights.sum(dtype=np.float64) for pack in packs)),
            rows=rows,
            groups=[np.concatenate(groups[at : at + size]) for at in starts],
            broken=broken,
        )

    def steps(self, start: int, stop: int) -> Iterator[StepFeed]:
        """Steps start … stop - 1, decoded ahead by one thread."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed") as pool:
            ahead: list[Future[StepFeed]] = []
            try:
                for number in range(start, stop):
                    while len(ahead) < LOOKAHEAD and number + len(ahead) < stop:
                        ahead.append(pool.submit(self.step, number + len(ahead)))
                    yield ahead.pop(0).result()
            finally:
                for future in ahead:
                    future.cancel()

    def _collate(self, samples: list[Sample]) -> Pack:
        return collate(
            samples, length=self.plan.budget.tokens, pad=self._tokens.pad, geometry=self._parameters.geometry
        )

    def _sample(self, planned: PlannedRow, broken: Counter[str]) -> Sample:
        row = self._datasets[planned.dataset].row("train", planned.row)
        sample = load_sample(row, planned.dataset, self._parameters, self._tokens)
        if sample.reason is not None:
            broken[f"{planned.dataset}: {sample.reason}"] += 1
        return sample


class BadRowBudget:
    """Stops a run in which more than `share` of the rows could not be decoded (at least one is always allowed)."""

    def __init__(self, share: float) -> None:
        self._share = share
        self.bad: Counter[str] = Counter()
        self.rows = 0

    def add(self, feed: StepFeed) -> None:
        """Count a step's rows; DataError once the budget is exceeded, with the count by reason."""
        self.rows += len(feed.rows)
        self.bad.update(feed.broken)
        total = self.bad.total()
        if total > max(1.0, self._share * self.rows):
            raise DataError(
                what=f"{total} of {self.rows} rows could not be decoded: {dict(self.bad)}",
                why=f"the budget is {self._share:.2%}; beyond it the trained mixture is not the planned one",
                fix="`dvc checkout --force data.dvc` restores the shards; then run the same command again",
            )

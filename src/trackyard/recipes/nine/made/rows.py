"""What the small model sees in each step: rows, crops, experts per token and blocks, all drawn from the seed.

Source: nine-datasets spec section 5 (the knobs that it will be evaluated with).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trackyard.errors import DataError
from trackyard.feed.batch import Batch, collate, stack_packs
from trackyard.feed.sample import Sample, build_sample
from trackyard.feed.tokens import TokenTable
from trackyard.plan.packing import Budget, first_fit_decreasing
from trackyard.recipes.nine.made.model import made_feed
from trackyard.recipes.nine.made.parameters import MadeModelParameters
from trackyard.row import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """One step. rows: numbers of the rows. crops: at most, of each picture. routes: experts per token. blocks: that
    run, rising, the first and the last among them."""

    rows: tuple[int, ...]
    crops: int
    routes: int
    blocks: tuple[int, ...]


class Lessons:
    """The steps of one training; a step is a pure function of the parameters and its number."""

    def __init__(self, rows: Sequence[Row], tokens: TokenTable, parameters: MadeModelParameters) -> None:
        if not rows:
            raise DataError(
                what="no training rows for the small model",
                why="it would answer at random",
                fix="set nine.model.made.rows in params.yaml to 1 or more",
            )
        self._rows, self._tokens, self._parameters = rows, tokens, parameters
        self._feeds = {crops: made_feed(parameters, crops) for crops in parameters.crops}
        shares = np.array([parameters.shares.get(row.task, 1.0) for row in rows])
        self._shares = shares / shares.sum()
        self._known: dict[tuple[int, int], Sample] = {}

    def lesson(self, step: int) -> Lesson:
        """What step `step` draws."""
        made = self._parameters
        random = np.random.default_rng([made.seed, step])
        chosen = random.choice(len(self._rows), size=made.rows_per_step, p=self._shares)
        early = step < made.early * made.steps
        inner = np.arange(1, made.layers - 1)
        left = random.permutation(inner)[int(random.choice(made.skipped)) :]
        return Lesson(
            rows=tuple(int(row) for row in chosen),
            crops=min(made.crops) if early else int(random.choice(made.crops)),
            routes=int(random.choice(made.routes)),
            blocks=(0, *sorted(int(block) for block in left), made.layers - 1),
        )

    def batch(self, lesson: Lesson) -> Batch:
        """Its rows as the model reads them, in as few sequences of the longest one's length as they fit into."""
        geometry = self._parameters.geometry
        samples = [self._sample(row, lesson.crops) for row in lesson.rows]
        lengths, inputs = [len(sample.tree) for sample in samples], [sample.inputs for sample in samples]
        budget = Budget(tokens=max(lengths), inputs=sum(inputs))
        packs = [
            collate([samples[at] for at in members], length=budget.tokens, pad=self._tokens.pad, geometry=geometry)
            for members in first_fit_decreasing(lengths, inputs, budget=budget)
        ]
        return stack_packs(packs, geometry=geometry)

    def _sample(self, number: int, crops: int) -> Sample:
        if (number, crops) not in self._known:
            row = self._rows[number]
            self._known[number, crops] = build_sample(row, row.task, self._feeds[crops], self._tokens)
        return self._known[number, crops]

"""One rank's share of a Molmo2 run, as the training loop wants it: steps, what they are made of, what is recorded.

Source: molmo2 spec sections 9 and 13, performance spec section 4.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from trackyard.catalog.entries import Entry
from trackyard.feed.bad_rows import BadRowBudget
from trackyard.feed.batch import Batch
from trackyard.feed.loader import read_ahead
from trackyard.feed.steps import PlanFeed, StepFeed
from trackyard.feed.visibility import Visibility
from trackyard.models.context import ContextGroup
from trackyard.recipes.molmo2.flops import flops_of
from trackyard.recipes.molmo2.forward import own_answers
from trackyard.recipes.molmo2.prepare import Prepared
from trackyard.recipes.molmo2.probes import probes
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine
from trackyard.train.flops import peak
from trackyard.train.loop import Logged
from trackyard.train.metering import StepCost

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """What was counted while a step's micro-batches went by. own: for each, which answers are this rank's."""

    own: list[NDArray[np.bool_]] = field(default_factory=list)
    pairs: float = 0.0
    answers: float = 0.0
    crops: float = 0.0
    pooled: float = 0.0


class Share:
    """The `Track` of `trackyard.train.loop` for Molmo2."""

    def __init__(
        self,
        prepared: Prepared,
        feed: PlanFeed,
        engine: Engine,
        catalogue: Mapping[str, Entry],
        context: ContextGroup | None,
        spool: Spool | None,
        *,
        workers: int,
    ) -> None:
        self._prepared, self._feed, self._engine = prepared, feed, engine
        self._context, self._spool, self._workers = context, spool, workers
        self._groups = {name: catalogue[name].group if name in catalogue else name for name in feed.names}
        self._budget = BadRowBudget(prepared.parameters.max_bad_rows, prepared.parameters.on_bad_row)
        self._seen: dict[int, _Seen] = {}
        device = engine.device
        # Pairs are counted where a share of the peak can be told from them.
        self._counts_flops = device.type == "cuda" and peak(torch.cuda.get_device_name(device)) is not None

    @contextlib.contextmanager
    def steps(self, start: int) -> Iterator[Iterable[StepFeed]]:
        """Shares from step `start` to the last, decoded ahead."""
        with read_ahead(self._feed, start, self._prepared.plan.steps, workers=self._workers) as steps:
            yield self._within_budget(steps)

    def _within_budget(self, steps: Iterable[StepFeed]) -> Iterator[StepFeed]:
        for step in steps:
            for row in step.broken:
                log.warning("step %d: without loss, since it does not decode: %s", step.step + 1, row)
            self._budget.add(step.broken, rows=len(step.rows))
            yield step

    def batches(self, data: StepFeed) -> Iterator[Batch]:
        """Micro-batches of a step; what the records need of each is counted as it goes by."""
        seen = self._seen[data.step] = _Seen()
        for batch in data.batches:
            seen.own.append(own_answers(self._engine.module, batch, self._context))
            if self._counts_flops:
                visibility = Visibility.of(batch.segments, batch.examples, batch.visual_flags)
                seen.pairs += float(visibility.pairs().sum())
                seen.answers += float((np.asarray(batch.weights) > 0).sum())
                seen.crops += len(batch.visual.patches)
                seen.pooled += len(batch.visual.pooling)
            yield batch

    def cost(self, data: StepFeed) -> StepCost:
        """Of all ranks together; tokens from the plan, the rest from this rank's share, as many times as there are."""
        plan = self._prepared.plan
        seen, useful = self._seen[data.step], int(plan.step_table[data.step][0])
        flops = None
        if self._counts_flops:
            flops = flops_of(
                self._prepared,
                tokens=useful / self._engine.ranks.data_ranks,
                answers=seen.answers,
                pairs=seen.pairs,
                crops=seen.crops,
                pooled=seen.pooled,
            )
        rows = dict.fromkeys(self._feed.names, 0)
        for slot in range(plan.packs_per_step):
            for row in plan.pack(data.step, slot):
                rows[row.dataset] += 1
        return StepCost(
            tokens=plan.packs_per_step * plan.budget.tokens,
            useful_tokens=useful,
            flops=None if flops is None else flops * self._engine.ranks.data_ranks,
            rows=rows,
        )

    def probes(self) -> dict[str, tuple[Batch, Batch]]:
        """A batch of each kind of input, and the same with that input changed."""
        tokens = self._prepared.start.tokens
        found = probes(self._feed, self._prepared.datasets, vocabulary=tokens.vocab_size)
        return {kind: (probe.batch, probe.changed) for kind, probe in found.items()}

    def rows(self, step: int) -> list[str]:
        """`dataset/number` of every row of a step, in the plan's order."""
        plan = self._prepared.plan
        return [f"{row.dataset}/{row.row}" for slot in range(plan.packs_per_step) for row in plan.pack(step, slot)]

    def log(self, steps: Sequence[Logged], interval: Mapping[str, float]) -> None:
        """Losses by dataset group and the rest of each step into the spool, under the names of all tracks."""
        names = sorted(set(self._groups.values()))
        # One exchange between hosts for all steps: sums and counts by group, rows and broken ones.
        parts: dict[str, tuple[float, float]] = {}
        for step in steps:
            for group, pair in self._losses_by_group(step, names).items():
                parts[f"{step.done}/{group}"] = pair
            parts[f"{step.done}"] = (float(len(step.data.broken)), float(len(step.data.rows)))
        totals = self._engine.sum_by_name(parts)
        if self._spool is None:
            return
        for step in steps:
            by_group = {group: totals[f"{step.done}/{group}"] for group in names}
            broken = totals[f"{step.done}"][0] / self._engine.ranks.context
            values = self._metrics(step, by_group, broken)
            self._spool.metrics({**values, **(interval if step is steps[-1] else {})}, step.done)

    def flush(self) -> None:
        """Everything recorded is on the disk."""
        if self._spool is not None:
            self._spool.flush()

    def _losses_by_group(self, step: Logged, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """(sum of cross-entropy, answer tokens) of this rank's answers."""
        own = self._seen.pop(step.data.step).own
        datasets = np.concatenate([groups[mine] for groups, mine in zip(step.data.groups, own, strict=True)])
        losses = torch.cat([loss.cross_entropy for loss in step.losses]).double().cpu().numpy()
        sums = np.bincount(datasets, weights=losses, minlength=len(self._feed.names))
        counts = np.bincount(datasets, minlength=len(self._feed.names))
        totals = dict.fromkeys(names, (0.0, 0.0))
        for number, name in enumerate(self._feed.names):
            total, count = totals[self._groups[name]]
            totals[self._groups[name]] = (total + float(sums[number]), count + float(counts[number]))
        return totals

    def _metrics(self, step: Logged, by_group: Mapping[str, tuple[float, float]], broken: float) -> dict[str, float]:
        """A step whose update was left out has no loss that could be drawn. What is looked at first comes first."""
        plan = self._prepared.plan
        tokens = int(plan.step_table[step.done - 1][0])
        learned = {} if step.skipped is not None else {
            "train/loss": step.loss,
            "train/gradient_norm": step.gradient_norm,
            **{f"train/loss/{group}": total / count for group, (total, count) in by_group.items() if count},
        }  # fmt: skip
        return learned | {
            "train/skipped": float(step.skipped is not None),
            "train/step_tokens": float(tokens),
            "train/step_padding": 1 - tokens / (plan.packs_per_step * plan.budget.tokens),
            "train/broken_rows": broken,
            **{f"train/learning_rate/{name}": rate for name, rate in step.rates.items()},
        }

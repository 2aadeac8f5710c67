"""One rank's share of the training, as the loop wants it: pictures and latents by step, costs, what is recorded.

Source: theworld spec sections 7, 8 and 10; design section 1.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trackyard.feed.gemma_pixels import gemma_pixels
from trackyard.feed.tree import NO_TARGET
from trackyard.feed.world_prompts import WorldPrompts
from trackyard.models.theworld.batch import WorldBatch, WorldSample, pack
from trackyard.recipes.datacomp.ingest.samples import Samples
from trackyard.recipes.datacomp.training.audits import Audits
from trackyard.recipes.datacomp.training.costs import Costs
from trackyard.recipes.datacomp.training.samples import NAME, Draws, SamplePlan
from trackyard.record.spool import Spool
from trackyard.snapshot.latent_shards import Latents
from trackyard.train.loop import Logged
from trackyard.train.metering import StepCost
from trackyard.train.ranks import Ranks

AHEAD = 2
"""Steps that are read while one is computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepShare:
    """This rank's samples of a step, packed into micro-batches. weight: supervised tokens in them."""

    step: int
    batches: tuple[WorldBatch, ...]
    weight: float


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where samples come from. size: pixels of Gemma's square input."""

    samples: Samples
    latents: Latents
    prompts: WorldPrompts
    question: str
    size: int

    def sample(self, number: int) -> WorldSample:
        """DataError or UnreadableMedia where a picture or its latent is not what curation found: none is replaced."""
        row = self.samples[number]
        pixels = gemma_pixels(self.samples.image_bytes(number), row.uid, self.size)[None]
        prompt = self.prompts.build(self.question, answer=row.caption)
        return WorldSample(prompt, pixels, self.latents.find(row.image)[None])


class Share:
    """The `Track` of `trackyard.train.loop` for a run. A thread reads ahead; steps come in order."""

    def __init__(
        self,
        plan: SamplePlan,
        draws: Draws,
        source: Source,
        ranks: Ranks,
        audits: Audits,
        costs: Costs,
        spool: Spool | None,
        *,
        micro_batch: int,
        reads_latents: bool,
    ) -> None:
        """spool: of rank 0. reads_latents: whether the branch that is trained does."""
        self._plan, self._draws, self._source, self._ranks = plan, draws, source, ranks
        self._audits, self._costs, self._spool = audits, costs, spool
        self._micro_batch, self._reads = micro_batch, reads_latents

    @contextlib.contextmanager
    def steps(self, start: int) -> Iterator[Iterator[StepShare]]:
        """Shares from step `start` to the last. Between two of them, and after the last, audits that are due."""
        with ThreadPoolExecutor(1) as pool:
            try:
                yield self._from(start, pool)
            finally:
                pool.shutdown(cancel_futures=True)

    def _from(self, start: int, pool: ThreadPoolExecutor) -> Iterator[StepShare]:
        waiting: deque[Future[StepShare]] = deque()
        # The loop asks for a step when the one before it was taken, in this attempt or an earlier one.
        for done in range(start, self._plan.steps + 1):
            while len(waiting) <= AHEAD and done + len(waiting) < self._plan.steps:
                waiting.append(pool.submit(self.share, done + len(waiting)))
            self._audits.after(done)
            if done < self._plan.steps:
                yield waiting.popleft().result()

    def share(self, step: int) -> StepShare:
        """Samples of a step that are this rank's: the ranks' shares follow one another in the order of the plan."""
        own = self._plan.samples_per_step // self._ranks.data_ranks
        numbers = self._draws.of_step(step)[self._ranks.data_rank * own :][:own].tolist()
        samples = [self._source.sample(number) for number in numbers]
        batches = tuple(pack(samples[at : at + self._micro_batch]) for at in range(0, own, self._micro_batch))
        weight = float(sum((sample.prompt.labels != NO_TARGET).sum() for sample in samples))
        return StepShare(step=step, batches=batches, weight=weight)

    def batches(self, data: StepShare) -> Sequence[WorldBatch]:
        """Micro-batches of a step, in order."""
        return data.batches

    def cost(self, data: StepShare) -> StepCost:
        """Of all ranks together, from the plan: nothing is padded."""
        return self._costs.of_step(self._draws, data.step)

    def rows(self, step: int) -> list[str]:
        """`datacomp/uid` of every sample of a step."""
        return [f"{NAME}/{self._source.samples[number].uid}" for number in self._draws.of_step(step).tolist()]

    def probes(self) -> dict[str, tuple[WorldBatch, WorldBatch]]:
        """Some samples, and the same with other pictures, or with other latents where the branch reads them."""
        batch = self.share(0).batches[0]
        found = {"image": (batch, replace(batch, pixel_values=np.ascontiguousarray(-batch.pixel_values)))}
        if self._reads and batch.latents is not None:
            found["world latents"] = (batch, replace(batch, latents=np.ascontiguousarray(-batch.latents)))
        return found

    def log(self, steps: Sequence[Logged], interval: Mapping[str, float]) -> None:
        """Every step into the spool, under the names of all tracks."""
        if self._spool is None:
            return
        for step in steps:
            cost = self.cost(step.data)
            values = {
                "train/skipped": float(step.skipped is not None),
                "train/step_tokens": float(cost.tokens),
                **{f"train/learning_rate/{name}": rate for name, rate in step.rates.items()},
            }
            if step.skipped is None:
                # A step whose update was left out has no loss that could be drawn.
                values = {"train/loss": step.loss, "train/gradient_norm": step.gradient_norm} | values
            self._spool.metrics({**values, **(interval if step is steps[-1] else {})}, step.done)

    def flush(self) -> None:
        """Everything recorded is on the disk."""
        if self._spool is not None:
            self._spool.flush()


def first_batch(share: Any) -> WorldBatch:
    """A micro-batch that audits look at the branch with: the same for all runs of a seed."""
    found: WorldBatch = share.share(0).batches[0]
    return found

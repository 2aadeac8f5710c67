"""One rank's share of an arm's training, as the loop wants it: windows by step, what they cost, what is recorded.

Source: pile-ffn spec sections 4 to 6; design section 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trackyard.feed.token_windows import TokenWindows
from trackyard.models.text_packs import TextPacks
from trackyard.recipes.pile_ffn.arms.forward import shape_of
from trackyard.recipes.pile_ffn.arms.windows import WindowPlan
from trackyard.recipes.running.moved import Movements
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine
from trackyard.train.flops import causal_pairs, decoder_work, step_flops
from trackyard.train.loop import Logged
from trackyard.train.metering import StepCost


@dataclass(frozen=True, kw_only=True, slots=True)
class StepShare:
    """This rank's windows of a step, cut into micro-batches. weight: targets in them."""

    step: int
    batches: tuple[TextPacks, ...]
    weight: float


class Share:
    """The `Track` of `trackyard.train.loop` for an arm. Tokens are read where they lie, so nothing is read ahead."""

    def __init__(
        self,
        plan: WindowPlan,
        order: TokenWindows,
        engine: Engine,
        movements: Movements,
        spool: Spool | None,
        *,
        separator: int | None,
        micro_batch: int,
    ) -> None:
        """separator: the token that ends a document, where documents do not see each other. spool: of rank 0."""
        self._plan, self._order, self._engine, self._movements = plan, order, engine, movements
        self._spool, self._separator, self._micro_batch = spool, separator, micro_batch
        config: Any = engine.module.config
        self._vocabulary = int(config.vocab_size)
        tokens = plan.windows_per_step * plan.window
        work = decoder_work(
            shape_of(config),
            tokens=tokens,
            answers=tokens,
            pairs=causal_pairs([plan.window]) * plan.windows_per_step,
            gradient="trained",
        )
        self._cost = StepCost(
            tokens=tokens, useful_tokens=tokens, flops=step_flops(work), rows={plan.dataset: plan.windows_per_step}
        )

    @contextlib.contextmanager
    def steps(self, start: int) -> Iterator[Iterator[StepShare]]:
        """Shares from step `start` to the last. Between two of them, and after the last, audits that are due."""
        yield self._from(start)

    def _from(self, start: int) -> Iterator[StepShare]:
        # The loop asks for a step when the one before it was taken, in this attempt or an earlier one.
        for done in range(start, self._plan.steps + 1):
            self._movements.after(done)
            if done < self._plan.steps:
                yield self.share(done)

    def share(self, step: int) -> StepShare:
        """Windows of a step that are this rank's: the ranks' shares follow one another in the order of the plan."""
        ranks = self._engine.ranks
        own = self._plan.windows_per_step // ranks.data_ranks
        windows = self._order.batch(step)[ranks.data_rank * own :][:own]
        batches = tuple(
            TextPacks.of_windows(windows[at : at + self._micro_batch], separator=self._separator)
            for at in range(0, own, self._micro_batch)
        )
        weight = sum(float(packs.weights.sum(dtype="float64")) for packs in batches)
        return StepShare(step=step, batches=batches, weight=weight)

    def batches(self, data: StepShare) -> Sequence[TextPacks]:
        """Micro-batches of a step, in order."""
        return data.batches

    def cost(self, _data: StepShare) -> StepCost:
        """Of all ranks together: every step is as large, and without padding."""
        return self._cost

    def rows(self, step: int) -> list[str]:
        """`dataset/window` of every window of a step."""
        return [f"{self._plan.dataset}/{number}" for number in self._order.numbers(step).tolist()]

    def probes(self) -> dict[str, tuple[TextPacks, TextPacks]]:
        """Some windows, and the same with every input token another one; what they must predict stays."""
        packs = self.share(0).batches[0]
        other = (packs.input_ids + self._vocabulary // 2) % self._vocabulary
        return {"text": (packs, replace(packs, input_ids=other))}

    def log(self, steps: Sequence[Logged], interval: Mapping[str, float]) -> None:
        """Every step into the spool, under the names of all tracks."""
        if self._spool is None:
            return
        for step in steps:
            values = {
                "train/skipped": float(step.skipped is not None),
                "train/step_tokens": float(self._cost.tokens),
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

"""A job that is no track's: two layers that learn to turn four numbers round (tests/train/test_loop.py)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.train import test_loop as small
from trackyard.launch.watchdog import WatchdogParameters
from trackyard.plan.recorded import fingerprint_of
from trackyard.recipes.running.plan_file import keep_plan
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.origins import Origins, StartingModel
from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine
from trackyard.train.guard import Guard
from trackyard.train.loss import AnswerLoss
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import Ranks

AGAIN = "dvc repro tiny"
FAST = 1e-2
ROWS = 3
"""Of a pack."""
WHOLE = EngineParameters(micro_batch=2)
WEIGHTS = "model.safetensors"
PLAN, START = "tiny-plan/1", {"start": "two layers"}


class Numbers(small.Track):
    """Two micro-batches of one pack or one of two; SIGTERM to this process when step `stop_at` has been read."""

    def __init__(self, micro_batch: int, stop_at: int | None, poisoned: Iterable[int]) -> None:
        super().__init__(poisoned=tuple(poisoned))
        self._micro_batch, self._stop_at = micro_batch, stop_at

    def batches(self, data: small.Data) -> Iterable[torch.Tensor]:
        if data.step + 1 == self._stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return data.inputs.split(ROWS * self._micro_batch)

    def probes(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        return {kind: (batch[:ROWS], changed[:ROWS]) for kind, (batch, changed) in super().probes().items()}


@dataclass(frozen=True, kw_only=True)
class TinyJob:
    """stop_at: step at which a signal comes, from 1. tight: a device that holds a micro-batch of 1 and no more."""

    root: Path
    seed: int = 0
    engine: EngineParameters = WHOLE
    stop_at: int | None = None
    tight: bool = False
    poisoned: tuple[int, ...] = ()
    readonly: bool = False
    built: list[EngineParameters] = field(default_factory=list)

    steps = small.STEPS
    save_every = small.SAVE_EVERY
    guard = small.GUARD
    watchdog = WatchdogParameters()
    again = AGAIN

    @property
    def spec(self) -> RunSpec:
        return RunSpec(
            track="tiny", stage="turn", parameters={"seed": self.seed}, plan=self.plan_fingerprint, model=START,
            snapshots={}, parent=None, code=CodeIdentity(commit="0" * 40, dirty_digest=None), image=None,
            seed=self.seed,
        )  # fmt: skip

    @property
    def plan_path(self) -> Path:
        return keep_plan(self.root, PLAN, {"steps": self.steps})

    @property
    def plan_fingerprint(self) -> str:
        return fingerprint_of(PLAN, {"steps": self.steps})

    @property
    def origins(self) -> Origins:
        made = StartingModel(
            id="two layers", revision=None, licence=None, named="making", directory=None, restore=AGAIN
        )  # fmt: skip
        return Origins(
            root=self.root, spec=self.spec, plan=self.plan_path, snapshots={}, models={"start": made}, parent=None
        )  # fmt: skip

    def build(self, settings: EngineParameters, ranks: Ranks, guard: Guard) -> Engine:
        self.built.append(settings)

        def forward(model: torch.nn.Module, inputs: torch.Tensor) -> AnswerLoss:
            if self.tight and len(inputs) > ROWS:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return small.forward(model, inputs)

        rate = ComponentRate(learning_rate=FAST, warmup_steps=2)
        return Engine(
            small.Net(uses_all=True),
            component_of=lambda name: name.split(".")[0],
            optimiser=OptimiserParameters(rates=dict.fromkeys(("first", "second", "idle"), rate)),
            engine=settings,
            packs_per_step=2,
            steps=self.steps,
            forward=forward,
            ranks=ranks,
            guard=guard,
        )

    def share(
        self, engine: Engine, ranks: Ranks, settings: EngineParameters, directory: RunDirectory, spool: Spool | None
    ) -> Numbers:
        return Numbers(settings.micro_batch, self.stop_at, self.poisoned)

    def write_final(self, partial: Path, weights: dict[str, torch.Tensor]) -> None:
        if self.readonly:
            raise OSError("no space left")
        save_file(weights, partial / WEIGHTS)


def final_weights(directory: Path) -> dict[str, torch.Tensor]:
    """What training left."""
    return load_file(directory / "final" / WEIGHTS)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """To the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

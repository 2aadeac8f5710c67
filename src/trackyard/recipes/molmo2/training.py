"""What of a Molmo2 stage is trained: its engine, a rank's share of its steps, its final weights.

Source: molmo2 spec sections 2, 12 and 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch

from trackyard.catalog.entries import load_catalogue
from trackyard.feed.steps import PlanFeed
from trackyard.launch.watchdog import WatchdogParameters
from trackyard.models.attention import mask_kind, use_masks
from trackyard.models.context import ContextGroup
from trackyard.models.molmo2 import component_of
from trackyard.publish.export import write_export
from trackyard.recipes.molmo2.forward import forward
from trackyard.recipes.molmo2.origins import origins_of
from trackyard.recipes.molmo2.outcome import tell_data
from trackyard.recipes.molmo2.parameters import StageParameters
from trackyard.recipes.molmo2.prepare import Prepared
from trackyard.recipes.molmo2.share import Share
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.origins import Origins
from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine
from trackyard.train.guard import Guard
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.parameters import EngineParameters
from trackyard.train.ranks import Ranks


@dataclass(frozen=True)
class Molmo2Job:
    """The `Job` of `trackyard.recipes.running` for a stage of Molmo2."""

    prepared: Prepared

    @property
    def root(self) -> Path:
        return self.prepared.root

    @property
    def spec(self) -> RunSpec:
        return self.prepared.spec

    @property
    def plan_path(self) -> Path:
        return self.prepared.plan.directory

    @property
    def plan_fingerprint(self) -> str:
        return self.prepared.plan.fingerprint

    @cached_property
    def origins(self) -> Origins:
        return origins_of(self.prepared)

    @property
    def steps(self) -> int:
        return self.prepared.plan.steps

    @property
    def save_every(self) -> int:
        return self._stage.save_every

    @property
    def seed(self) -> int:
        return self.prepared.parameters.seed

    @property
    def engine(self) -> EngineParameters:
        return self.prepared.parameters.engine_of(self.prepared.stage)

    @property
    def guard(self) -> GuardParameters:
        return self.prepared.parameters.guard

    @property
    def watchdog(self) -> WatchdogParameters:
        return self.prepared.parameters.watchdog

    @property
    def again(self) -> str:
        return f"dvc repro {self.prepared.stage}"

    @property
    def _stage(self) -> StageParameters:
        return self.prepared.parameters.stage(self.prepared.stage)

    def build(self, settings: EngineParameters, ranks: Ranks, guard: Guard) -> Engine:
        """The start of the stage under DeepSpeed, with masks of the kind that the device computes fastest."""
        context = ContextGroup.of(ranks.context_group)
        engine = Engine(
            self.prepared.start.build(),
            component_of=component_of,
            optimiser=self._stage.optimiser,
            engine=settings,
            packs_per_step=self.prepared.plan.packs_per_step,
            steps=self.steps,
            forward=partial(forward, context=context, loss_chunk=settings.loss_chunk),
            ranks=ranks,
            guard=guard,
        )
        use_masks(engine.module, mask_kind(engine.device))
        return engine

    def share(
        self, engine: Engine, ranks: Ranks, settings: EngineParameters, _directory: RunDirectory, spool: Spool | None
    ) -> Share:
        """The packs of this rank, decoded ahead."""
        prepared = self.prepared
        if spool is not None:
            tell_data(prepared, spool)
        feed = PlanFeed(
            prepared.plan,
            prepared.datasets,
            prepared.feed,
            prepared.start.tokens,
            rank=ranks.data_rank,
            world=ranks.data_ranks,
            micro_batch=settings.micro_batch,
        )
        catalogue, context = load_catalogue(self.root / "catalog"), ContextGroup.of(ranks.context_group)
        return Share(prepared, feed, engine, catalogue, context, spool, workers=settings.workers)

    def write_final(self, partial: Path, weights: dict[str, torch.Tensor]) -> None:
        """The export of the trained model, fp32, as it is put out."""
        start, feed = self.prepared.start, self.prepared.feed
        model = start.build().float()
        model.load_state_dict(weights)
        write_export(partial, model, start.tokens, feed.geometry, feed.video)

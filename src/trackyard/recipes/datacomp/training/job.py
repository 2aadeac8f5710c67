"""What is trained for a run at a seed: its engine, its share of steps, its export.

Source: theworld spec sections 6, 10 and 11; design sections 1, 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from trackyard.launch.watchdog import WatchdogParameters
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import tokens_of
from trackyard.recipes.datacomp.cells import SOFT_PROMPT, Cell
from trackyard.recipes.datacomp.parameters import TrainingParameters
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.audits import Audits
from trackyard.recipes.datacomp.training.branch import changes
from trackyard.recipes.datacomp.training.costs import Costs
from trackyard.recipes.datacomp.training.export import describe, write_export
from trackyard.recipes.datacomp.training.forward import forward
from trackyard.recipes.datacomp.training.groups import (
    WorldEngine,
    component_of,
    group_settings,
    optimiser_of,
)
from trackyard.recipes.datacomp.training.origins import origins_of
from trackyard.recipes.datacomp.training.samples import Draws, SamplePlan
from trackyard.recipes.datacomp.training.share import Share, Source, first_batch
from trackyard.recipes.datacomp.training.starting import Start, start_of
from trackyard.recipes.datacomp.training.telling import tell_origin
from trackyard.recipes.running.moved import Movements
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.origins import Origins
from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine, import_deepspeed
from trackyard.train.guard import Guard
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.movement import MovementAudit
from trackyard.train.parameters import EngineParameters
from trackyard.train.ranks import Ranks
from trackyard.train.state import TrainingState

GATE = "world.alpha"


@dataclass(frozen=True, kw_only=True)
class WorldJob:
    """The `Job` of `trackyard.recipes.running` for this track. again: the command that continues the run.

    say: for what a person sees while the model is made.
    """

    study: Study
    cell: Cell
    spec: RunSpec
    plan: SamplePlan
    draws: Draws
    source: Source
    again: str
    say: Callable[[str], None]
    _built: dict[str, Any] = field(default_factory=dict)
    """The start of the engine at hand: what its share and its final weights need of it."""

    @property
    def root(self) -> Path:
        return self.study.root

    @property
    def plan_path(self) -> Path:
        return self.plan.directory(self.root)

    @property
    def plan_fingerprint(self) -> str:
        return self.plan.fingerprint

    @cached_property
    def origins(self) -> Origins:
        return origins_of(self.study, self.spec, self.plan_path)

    @property
    def steps(self) -> int:
        return self.plan.steps

    @property
    def save_every(self) -> int:
        return self.training.save_every

    @property
    def seed(self) -> int:
        return self.plan.seed

    @property
    def engine(self) -> EngineParameters:
        return self.study.parameters.engine

    @property
    def guard(self) -> GuardParameters:
        return self.study.parameters.guard

    @property
    def watchdog(self) -> WatchdogParameters:
        return self.study.parameters.watchdog

    @property
    def training(self) -> TrainingParameters:
        return self.study.parameters.training

    @property
    def reads_latents(self) -> bool:
        """Free vectors do not."""
        return self.cell.name != SOFT_PROMPT

    @cached_property
    def world_tokens(self) -> int:
        """N_w, per image."""
        return tokens_of(self.study.parameters.world.mode, self.source.latents.facts.shape)[0]

    def start(self) -> Start:
        """The model of step 0, counted. IdentityError as `start_of`."""
        return start_of(self.study, self.cell, self.source.latents.facts, self.say)

    def build(self, settings: EngineParameters, ranks: Ranks, guard: Guard) -> WorldEngine:
        """The start under DeepSpeed, which sees what is trained and nothing else."""
        import_deepspeed()
        self._built.clear()
        start = self.start()
        self._say_counts(start.counts)
        optimiser = optimiser_of(self.training, start.counts)
        engine = WorldEngine(
            start.model,
            component_of=component_of,
            optimiser=optimiser,
            engine=settings,
            packs_per_step=self.plan.samples_per_step,
            steps=self.steps + 1,
            forward=partial(forward, loss_chunk=settings.loss_chunk),
            ranks=ranks,
            guard=guard,
            group_settings=group_settings(optimiser),
        )
        if GATE in start.counts:
            engine.behind_gate = tuple(group for group in optimiser.rates if group != component_of(GATE))
        self._built.update(r_text=start.r_text)
        return engine

    def share(
        self, engine: Engine, ranks: Ranks, settings: EngineParameters, directory: RunDirectory, spool: Spool | None
    ) -> Share:
        """The samples of this rank; audits keep the weights of step 0 from here on."""
        if spool is not None:
            tell_origin(self.study, self.cell, self.spec, spool)
        model: Any = engine.module
        state = TrainingState.of(engine.deepspeed, dict(engine.named_parameters()))
        movement = MovementAudit(state, constrained=(), beta2=self.training.beta2, eps=self.training.eps)
        audits = Audits(
            state,
            Movements(movement, steps=self.steps, ranks=ranks, directory=directory.path),
            frozen=frozen_of(model),
            changes=lambda: changes(model, first_batch(share)),
            reads_latents=self.reads_latents,
            gate=GATE if GATE in state.shapes else None,
            steps=self.steps,
            ranks=ranks,
            directory=directory.path,
        )
        projector = sum(weight.numel() for name, weight in engine.named_parameters() if TheWorld.decays(name))
        share = Share(
            self.plan,
            self.draws,
            self.source,
            ranks,
            audits,
            Costs.of(model.config, projector=projector, world_tokens=self.world_tokens),
            spool,
            micro_batch=settings.micro_batch,
            reads_latents=self.reads_latents,
        )
        return share

    def write_final(self, partial_folder: Path, weights: dict[str, torch.Tensor]) -> None:
        """The trained tensors, and what they belong to."""
        write_export(
            partial_folder,
            weights,
            belongs=describe(self.study, self.cell.name, self.source.latents.facts),
            r_text=self._built["r_text"],
            lineage={
                "run_id": self.spec.run_id,
                "parent": self.spec.parent,
                "plan": self.plan_fingerprint,
                "seed": self.seed,
                "steps": self.steps,
            },
        )

    def _say_counts(self, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():
            self.say(f"trained   {name} {count:,}")
        self.say(f"trained   {sum(counts.values()):,} parameters in {len(counts)} tensors, as expected")


def frozen_of(model: TheWorld) -> dict[str, torch.Tensor]:
    """Weights of Gemma that are not trained, by their names there; shared ones once."""
    return {name: weight for name, weight in model.gemma.named_parameters() if not weight.requires_grad}

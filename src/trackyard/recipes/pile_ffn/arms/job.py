"""What is trained for an arm at a seed, or to pretrain a made model: its engine, its share of steps, its export.

Source: pile-ffn spec sections 3, 4 and 6; design sections 1, 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from trackyard.errors import IdentityError
from trackyard.launch.watchdog import WatchdogParameters
from trackyard.models.attention import mask_kind, use_masks
from trackyard.models.nonneg_variants import Declaration
from trackyard.recipes.pile_ffn.arms.exporting import write_model
from trackyard.recipes.pile_ffn.arms.forward import forward
from trackyard.recipes.pile_ffn.arms.share import Share
from trackyard.recipes.pile_ffn.arms.starting import Start, take_weights
from trackyard.recipes.pile_ffn.arms.telling import tell_origin
from trackyard.recipes.pile_ffn.arms.windows import WindowPlan, windows_of
from trackyard.recipes.pile_ffn.parameters import TrainingParameters
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import TokenSet, load_tokenizer
from trackyard.recipes.running.moved import Movements
from trackyard.record.identity import RunSpec
from trackyard.record.lineage.origins import Origins
from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool
from trackyard.train.decay import FREE_EPS, components, group_settings
from trackyard.train.engine import Engine, import_deepspeed
from trackyard.train.guard import Guard
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.movement import MovementAudit
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import Ranks
from trackyard.train.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class WindowJob:
    """The `Job` of `trackyard.recipes.running` for this track.

    start: makes the model of step 0, always the same. declaration: what it must constrain; None for nothing. again:
    the command that continues the run.
    """

    study: Study
    spec: RunSpec
    origins: Origins
    plan: WindowPlan
    tokens: TokenSet
    start: Callable[[], Start]
    declaration: Declaration | None
    learning_rate: float
    again: str

    @property
    def root(self) -> Path:
        return self.study.root

    @property
    def plan_path(self) -> Path:
        return self.plan.directory(self.root)

    @property
    def plan_fingerprint(self) -> str:
        return self.plan.fingerprint

    @property
    def steps(self) -> int:
        return self.plan.steps

    @property
    def save_every(self) -> int:
        return self._training.save_every

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
    def _training(self) -> TrainingParameters:
        return self.study.parameters.training

    def build(self, settings: EngineParameters, ranks: Ranks, guard: Guard) -> Engine:
        """The start under DeepSpeed, every parameter trained, in fp32. IdentityError if it is not as declared."""
        import_deepspeed()
        model = self.checked_start().model
        named = components(model)
        optimiser = self.optimiser(set(named.values()))
        engine = Engine(
            model,
            component_of=named.__getitem__,
            optimiser=optimiser,
            engine=settings,
            packs_per_step=self.plan.windows_per_step,
            steps=self.steps,
            forward=partial(forward, masked=self._training.doc_mask, loss_chunk=settings.loss_chunk),
            ranks=ranks,
            guard=guard,
            group_settings=group_settings(optimiser),
        )
        if self._training.doc_mask:
            use_masks(engine.module, mask_kind(engine.device))
        return engine

    def checked_start(self) -> Start:
        """The model of step 0, compared with the declaration."""
        start = self.start()
        if self.declaration is not None and start.declaration is not None:
            self.declaration.require_same(start.declaration, where="the model that the run starts with")
        elif self.declaration is not start.declaration:
            raise IdentityError(
                what=f"declared is {self.declaration}, the start constrains {start.declaration}",
                why="its figures would stand in the column of another arm",
                fix="dvc repro -f pipelines/pile_ffn/dvc.yaml:init",
            )
        return start

    def optimiser(self, trained: set[str]) -> OptimiserParameters:
        """trained: components that the model has."""
        training = self._training
        rate = ComponentRate(learning_rate=self.learning_rate, warmup_steps=round(training.warmup * self.steps))
        return OptimiserParameters(
            rates=dict.fromkeys(sorted(trained), rate),
            schedule="linear",
            beta1=training.beta1,
            beta2=training.beta2,
            eps=training.eps,
            weight_decay=training.weight_decay,
            clip_norm=training.clip_norm,
        )

    def share(
        self, engine: Engine, _ranks: Ranks, settings: EngineParameters, directory: RunDirectory, spool: Spool | None
    ) -> Share:
        """The windows of this rank; the audit keeps the weights of step 0 from here on."""
        if spool is not None:
            tell_origin(self.study, self.spec, self.tokens, spool)
        state = TrainingState.of(engine.deepspeed, dict(engine.named_parameters()))
        declared = self.declaration
        audit = MovementAudit(
            state,
            constrained=() if declared is None else declared.trained_names,
            beta2=self._training.beta2,
            eps=self._training.eps if declared is None or declared.form == "absinit" else FREE_EPS,
        )
        return Share(
            self.plan,
            windows_of(
                self.tokens,
                window=self.plan.window,
                windows_per_step=self.plan.windows_per_step,
                seed=self.plan.seed,
            ),
            engine,
            Movements(audit, steps=self.steps, ranks=engine.ranks, directory=directory.path),
            spool,
            separator=load_tokenizer(self.study).eos_token_id if self._training.doc_mask else None,
            micro_batch=settings.micro_batch,
        )

    def write_final(self, partial: Path, weights: dict[str, torch.Tensor]) -> None:
        """The trained model as a plain export. ConstraintError if its effective weights are not as declared."""
        start = self.checked_start()
        take_weights(start.model, weights)
        write_model(partial, start.model, load_tokenizer(self.study), self.declaration)

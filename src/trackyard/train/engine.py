"""One DeepSpeed engine for all tracks: micro-batches in, exact global-batch gradients out.

DeepSpeed divides state, gradients and weights over all ranks (ZeRO) and knows nothing of context parallelism: a rank's
loss is the sum over its own answer tokens, so that the mean of gradients over ranks is right however packs are divided.
Clipping and skipping happen inside the fused AdamW, on the device. Shapes: see trackyard.train.loss.
Source: design section 7, molmo2 spec sections 2, 10 and 12, performance spec section 6.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist

from trackyard.imports import hidden, import_heavy
from trackyard.train.loss import AnswerLoss
from trackyard.train.memory import recompute
from trackyard.train.norms import GradientNorms, gradient_norms
from trackyard.train.optimiser import StepOptimizer, parameter_groups, rates_at
from trackyard.train.parameters import EngineParameters, OptimiserParameters, accumulation
from trackyard.train.ranks import Ranks

Forward = Callable[[torch.nn.Module, Any], AnswerLoss]
"""What a track gives the engine: one micro-batch through the model, loss not yet divided by the global weight."""


class Judge(Protocol):
    """Decides on the device whether an update is applied."""

    def verdict(self, loss: torch.Tensor, gradient_norm: torch.Tensor) -> torch.Tensor:
        """1.0 to leave weights and moments alone, 0.0 to update them (float32, no dimensions)."""
        ...


class NonFinite:
    """The least a judge does: an update with a loss or a gradient that is no number is left out."""

    def verdict(self, loss: torch.Tensor, gradient_norm: torch.Tensor) -> torch.Tensor:
        return (~(torch.isfinite(loss) & torch.isfinite(gradient_norm))).float()


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What one update tells; tensors are on the device, and reading them waits for it.

    loss: weighted mean over the global batch. gradient_norm: before clipping; component_norms: its parts, None where it
    is no number under ZeRO 3. skipped: 1.0 if the update was left out. losses: one per micro-batch of this rank.
    """

    loss: torch.Tensor
    gradient_norm: torch.Tensor
    component_norms: GradientNorms | None
    skipped: torch.Tensor
    rates: dict[str, float]
    losses: list[AnswerLoss]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Update:
    """What was decided about an update, on the device."""

    norms: GradientNorms | None
    norm: torch.Tensor
    divisor: torch.Tensor
    skipped: torch.Tensor


class Task(torch.nn.Module):
    """A model and the way a micro-batch goes through it, as one module: DeepSpeed sees every use of a weight."""

    def __init__(self, model: torch.nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model = model
        self._forward = forward

    def forward(self, micro_batch: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(total, cross-entropy [A], weight [A]); plain tensors, because DeepSpeed looks for them in the result."""
        loss = self._forward(self.model, micro_batch)
        return loss.total, loss.cross_entropy, loss.weight


class Engine:
    """A model under DeepSpeed that takes whole steps of planned micro-batches."""

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        component_of: Callable[[str], str],
        optimiser: OptimiserParameters,
        engine: EngineParameters,
        packs_per_step: int,
        steps: int,
        forward: Forward,
        ranks: Ranks,
        guard: Judge | None = None,
        group_settings: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """group_settings: AdamW's `weight_decay` and `eps` of components that need others than `optimiser` says."""
        deepspeed = _deepspeed()
        self.ranks = ranks
        self.component_of = component_of
        self._optimiser, self._steps = optimiser, steps
        self._guard: Judge = guard or NonFinite()
        self.accumulation = accumulation(packs_per_step, engine.micro_batch, ranks.data_ranks)
        own = group_settings or {}
        groups = [
            group | dict(own.get(group["name"], {})) for group in parameter_groups(model, component_of, optimiser.rates)
        ]
        self._components = [group["name"] for group in groups]
        recompute(model, engine.activation_checkpointing)
        exact = _exact_weights(model, engine)
        self.optimizer = StepOptimizer(
            groups,
            betas=(optimiser.beta1, optimiser.beta2),
            eps=optimiser.eps,
            weight_decay=optimiser.weight_decay,
        )
        self.deepspeed, *_ = deepspeed.initialize(
            model=Task(model, forward),
            optimizer=self.optimizer,
            config=_configuration(engine, self.accumulation),
        )
        self.deepspeed.train()
        # One rank with everything whole has nothing to divide: its own backward and step spare a tenth of a small step.
        self._alone = ranks.world == 1 and engine.zero_stage == 0
        self._frozen = {name: exact[name] for name, weight in self.named_parameters() if not weight.requires_grad}
        self._restore_masters(exact)
        self.optimizer.before_update = self._before_update
        self._loss = torch.zeros((), device=self.device)
        self._update: _Update | None = None

    @property
    def module(self) -> torch.nn.Module:
        """The trained model itself."""
        module: torch.nn.Module = self.deepspeed.module.model
        return module

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        device: torch.device = self.deepspeed.device
        return device

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """Parameters by the names of the model itself; under ZeRO 3 they are empty between uses."""
        return list(self.module.named_parameters())

    def step(self, number: int, micro_batches: Iterable[Any], weight: float) -> StepResult:
        """One update from this rank's share of step `number`; waits for other hosts, never for the device.

        micro_batches: `accumulation` of them, taken one by one. weight: sum of loss weights of this rank's answers; the
        loss is divided by its mean over ranks, so that the averaged gradient is that of the weighted mean over the
        global batch, however it is divided. A step without any weight changes nothing.
        """
        (whole,) = self.ranks.total([weight])
        mean = whole / self.ranks.world
        # Without a target the loss is no number either, and the judge leaves the update out.
        scale = 1 / mean if mean > 0 else float("nan")
        rates = rates_at(number, self._optimiser.rates, total=self._steps, schedule=self._optimiser.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["name"]]
        losses: list[AnswerLoss] = []
        self._update = None
        for index, micro_batch in zip(range(self.accumulation), micro_batches, strict=True):
            last = index == self.accumulation - 1
            total, cross_entropy, answer_weight = self._forward_and_backward(micro_batch, scale, last=last)
            losses.append(AnswerLoss(total=total.detach(), cross_entropy=cross_entropy, weight=answer_weight))
            if last:
                summed = torch.stack([loss.total for loss in losses]).double().sum()
                if self.ranks.world > 1:
                    dist.all_reduce(summed)
                self._loss = summed / whole if whole > 0 else summed * float("nan")
            self._update_weights(last=last)
        # ZeRO 3 looks at the norm itself, and leaves an update with one that is no number out before AdamW is called.
        update = self._update or self._decide(None)
        return StepResult(
            loss=self._loss,
            gradient_norm=update.norm,
            component_norms=update.norms,
            skipped=update.skipped,
            rates=rates,
            losses=losses,
        )

    def _forward_and_backward(
        self, micro_batch: Any, scale: float, *, last: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients of a micro-batch onto those before it."""
        total: torch.Tensor
        if self._alone:
            total, cross_entropy, weight = self.deepspeed.module(micro_batch)
            (total * scale).backward()
            return total, cross_entropy, weight
        self.deepspeed.set_gradient_accumulation_boundary(last)
        total, cross_entropy, weight = self.deepspeed(micro_batch)
        # DeepSpeed divides by the number of micro-batches; ours are already normalised over all of them.
        self.deepspeed.backward(total * (scale * self.accumulation))
        return total, cross_entropy, weight

    def _update_weights(self, *, last: bool) -> None:
        """After the last micro-batch of a step; DeepSpeed wants to hear of the others too."""
        if not self._alone:
            self.deepspeed.step()
        elif last:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def output(self, micro_batch: Any) -> torch.Tensor:
        """Cross-entropy [A] of a micro-batch, for looking at the model; nothing is trained. Every rank calls this."""
        _, cross_entropy, _ = self.deepspeed(micro_batch)
        found: torch.Tensor = cross_entropy
        return found

    def _before_update(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What AdamW divides gradients by, and whether it leaves the update out; the same in all calls of one step."""
        if self._update is None:
            self._update = self._decide(gradient_norms(self.deepspeed, self._components))
        return self._update.divisor, self._update.skipped

    def _decide(self, norms: GradientNorms | None) -> _Update:
        norm = torch.full((), float("inf"), device=self.device) if norms is None else norms.whole
        divisor = torch.clamp((norm + 1e-6) / self._optimiser.clip_norm, min=1.0).float()
        return _Update(norms=norms, norm=norm, divisor=divisor, skipped=self._guard.verdict(self._loss, norm))

    def _restore_masters(self, exact: Mapping[str, torch.Tensor]) -> None:
        """Start from the fp32 weights that were given: DeepSpeed makes its masters from their bf16 roundings."""
        from deepspeed.utils import safe_set_full_fp32_param

        for name, parameter in self.named_parameters():
            if parameter.requires_grad and name in exact:
                safe_set_full_fp32_param(parameter, exact[name].to(self.device))

    def sum_by_name(self, values: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Add (total, count) pairs of all ranks; every rank passes the same names."""
        names = sorted(values)
        summed = self.ranks.total([part for name in names for part in values[name]])
        return {name: (summed[2 * at], summed[2 * at + 1]) for at, name in enumerate(names)}

    def any_rank(self, flag: bool) -> bool:
        """True on all ranks if it is true on one: ranks agree before they stop."""
        return self.ranks.total([float(flag)])[0] > 0

    def weights(self) -> dict[str, torch.Tensor]:
        """The trained weights in fp32 on the host; with bf16 these are the masters. Every rank calls this."""
        from deepspeed.utils import safe_get_full_fp32_param

        weights: dict[str, torch.Tensor] = {}
        for name, parameter in self.named_parameters():
            if name in self._frozen:
                master = self._frozen[name]
            elif self.deepspeed.zero_optimization():
                master = safe_get_full_fp32_param(parameter)
            else:
                master = parameter.detach()
            weights[name] = master.float().cpu().contiguous()
        return weights


def _exact_weights(model: torch.nn.Module, engine: EngineParameters) -> dict[str, torch.Tensor]:
    """The fp32 weights that DeepSpeed is about to round or to divide: all of them in bf16, else those that are frozen.

    They stay in host memory, where they are.
    """
    rounded = engine.precision == "bf16"
    return {name: weight.data for name, weight in model.named_parameters() if rounded or not weight.requires_grad}


def _configuration(engine: EngineParameters, accumulation: int) -> dict[str, Any]:
    """DeepSpeed's settings. Clipping is ours: its own reads the norm on the host."""
    zero: dict[str, Any] = {"stage": engine.zero_stage}
    if engine.zero_stage == 2 and not engine.offload_optimizer:
        # trackyard.train.norms does it, without waiting for the device; elsewhere DeepSpeed insists on its own as well.
        zero["compute_grad_norm"] = False
    if engine.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": engine.micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": 0.0,
        # The check would wait for the device, and ends the step before our judge hears of it.
        "bf16": {"enabled": engine.precision == "bf16", "check_grad_overflow": False},
        # Otherwise bf16 gradients are summed in bf16, where a hundredth summand is rounded away.
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": zero,
        # Our own AdamW is meant: DeepSpeed would otherwise refuse a client optimiser with ZeRO.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**12,
        # DeepSpeed's own meter would wait for the device twice in each micro-batch.
        "timers": {"throughput": {"enabled": False}},
    }


def import_deepspeed() -> None:
    """Import DeepSpeed sooner than an engine would, and faster; to be called before there is a model.

    What is alive at a heavy import is never collected: a model would hold on to its engine after a rollback.
    """
    with _seen_by_deepspeed():
        import_heavy("deepspeed", "deepspeed.ops")


@contextmanager
def _seen_by_deepspeed() -> Iterator[None]:
    """What DeepSpeed looks for when it is imported: an accelerator, and MLflow, which its autotuner would write to.

    Nothing here tunes with it, and MLflow takes four times as long to import as the rest of DeepSpeed.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with hidden("mlflow"):
        yield


def _deepspeed() -> Any:
    """DeepSpeed, quiet, and without the C++ extension that it would compile at start on a machine without a GPU.

    The extension only speeds up all-reduce between processes of one host; gloo does the same without a compiler.
    """
    with _seen_by_deepspeed():
        import deepspeed
        import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed

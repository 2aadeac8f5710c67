"""One DeepSpeed engine for all tracks: micro-batches in, exact global-batch gradients out.

Shapes: see trackyard.train.loss. Source: design section 7, molmo2 spec sections 2 and 10.
"""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.distributed as dist
from pydantic import Field, model_validator

from trackyard.errors import CheckpointError, ConfigError, TrackyardError
from trackyard.parameters import Parameters
from trackyard.train.loss import AnswerLoss
from trackyard.train.optimiser import OptimiserParameters, parameter_groups, rates_at

TAG = "state"
"""Name of DeepSpeed's own folder inside a checkpoint."""
CLIENT, RNG = "trackyard", "trackyard-rng"
"""Keys of ours in the state that DeepSpeed stores."""


class EngineParameters(Parameters):
    """How a step is computed; none of it changes what is learned, beyond rounding."""

    micro_batch: int = Field(default=1, ge=1)
    """Packs per forward pass and rank."""
    precision: Literal["fp32", "bf16"] = "fp32"
    zero_stage: Literal[0, 1, 2] = 0
    threads: int = Field(default=1, ge=1)
    """CPU threads of a single process; several processes share them. More help only models that are not tiny."""
    keep_checkpoints: int = Field(default=2, ge=1)
    workers: int = Field(default=0, ge=0)
    """Processes per rank that decode rows ahead; 0 is one thread of the rank itself. The order of rows is the same."""

    @model_validator(mode="after")
    def _bf16_is_sharded(self) -> Self:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError(
                "precision=bf16 with zero_stage=0: DeepSpeed sums gradients in bf16 there; set zero_stage to 1 or 2"
            )
        return self


Forward = Callable[[torch.nn.Module, Any], AnswerLoss]
"""What a track gives the engine: one micro-batch through the model, loss not yet divided by the global weight."""


def rank() -> int:
    """Number of this process among the data-parallel ranks."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of data-parallel ranks."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def join_ranks(threads: int) -> None:
    """Join the process group (gloo without a GPU, NCCL with one); a lone process forms a group of one."""
    torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    if world_size() == 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    if dist.is_initialized():
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def accumulation(packs_per_step: int, micro_batch: int, world: int) -> int:
    """Micro-batches per rank and step; ConfigError unless micro_batch x accumulation x world = packs_per_step."""
    if packs_per_step % (micro_batch * world):
        raise ConfigError(
            what=f"packs_per_step={packs_per_step} is not a multiple of micro_batch={micro_batch} x ranks={world}",
            why="the global batch would not be the planned one",
            fix="choose engine.micro_batch and the number of processes so that their product divides packs_per_step",
        )
    return packs_per_step // (micro_batch * world)


def _deepspeed() -> Any:
    """DeepSpeed, quiet, and without the C++ extension that it would compile at start on a machine without a GPU.

    The extension only speeds up all-reduce between processes of one host; gloo does the same without a compiler.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


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
    ) -> None:
        deepspeed = _deepspeed()
        self._optimiser, self._steps, self._forward = optimiser, steps, forward
        # In this mode DeepSpeed clips by torch's function and forgets the norm.
        self._plain = engine.precision == "fp32" and engine.zero_stage == 0
        self.accumulation = accumulation(packs_per_step, engine.micro_batch, world_size())
        groups = parameter_groups(model, component_of, optimiser.rates)
        exact = {name: parameter.data for name, parameter in model.named_parameters()}
        self._engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=torch.optim.AdamW(
                groups,
                betas=(optimiser.beta1, optimiser.beta2),
                eps=optimiser.eps,
                weight_decay=optimiser.weight_decay,
            ),
            config={
                "train_batch_size": packs_per_step,
                "train_micro_batch_size_per_gpu": engine.micro_batch,
                "gradient_accumulation_steps": self.accumulation,
                "gradient_clipping": optimiser.clip_norm,
                "bf16": {"enabled": engine.precision == "bf16"},
                # Otherwise bf16 gradients are summed in bf16, where a hundredth summand is rounded away.
                "data_types": {"grad_accum_dtype": "fp32"},
                "zero_optimization": {"stage": engine.zero_stage},
                # Our own AdamW is meant: DeepSpeed would otherwise refuse a client optimiser with ZeRO.
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "steps_per_print": 10**12,
            },
        )
        self._frozen: dict[str, torch.Tensor] = {}
        if engine.precision == "bf16":
            self._restore_masters(exact)

    def _restore_masters(self, exact: Mapping[str, torch.Tensor]) -> None:
        """Start from the fp32 weights that were given: DeepSpeed makes its masters from their bf16 roundings."""
        from deepspeed.utils import safe_set_full_fp32_param

        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                safe_set_full_fp32_param(parameter, exact[name].to(parameter.device))
            else:
                self._frozen[name] = exact[name]

    @property
    def module(self) -> torch.nn.Module:
        """The trained model itself."""
        module: torch.nn.Module = self._engine.module
        return module

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        device: torch.device = self._engine.device
        return device

    def step(self, number: int, micro_batches: Iterable[Any], weight: float) -> StepResult:
        """One update from this rank's share of step `number`.

        micro_batches: `accumulation` of them, taken one by one. weight: sum of loss weights of all of them; the loss is
        divided by its mean over ranks, so that the averaged gradient is that of the weighted mean over the global
        batch, however it is split.
        """
        global_weight = self._sum(torch.tensor([weight], dtype=torch.float64))[0] / world_size()
        divisor = float(global_weight)
        if divisor <= 0:
            raise ConfigError(
                what=f"step {number} has no loss target",
                why="its gradient would be 0/0",
                fix="look at the excluded rows that `trackyard plan show` prints; a plan of usable rows has targets",
            )
        rates = rates_at(number, self._optimiser.rates, total=self._steps)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rates[group["name"]]
        losses: list[AnswerLoss] = []
        total, norm = 0.0, None
        for index, micro_batch in zip(range(self.accumulation), micro_batches, strict=True):
            last = index == self.accumulation - 1
            self._engine.set_gradient_accumulation_boundary(last)
            loss = self._forward(self._engine, micro_batch)
            # DeepSpeed divides by the number of micro-batches; ours are already normalised over all of them.
            self._engine.backward(loss.total / divisor * self.accumulation)
            losses.append(AnswerLoss(total=loss.total.detach(), cross_entropy=loss.cross_entropy, weight=loss.weight))
            if last:
                total = float(self._sum(torch.stack([loss.total.double().cpu() for loss in losses]).sum()[None])[0])
                norm = float(self._plain_norm()) if self._plain else None
                _require_finite(number, loss=total, gradient_norm=norm)
            self._engine.step()
        return StepResult(
            loss=total / (divisor * world_size()),
            gradient_norm=float(self._engine.get_global_grad_norm()) if norm is None else norm,
            rates=rates,
            losses=losses,
        )

    def _plain_norm(self) -> torch.Tensor:
        """Norm of the summed gradients before clipping, where they lie whole on every rank."""
        gradients = [parameter.grad for parameter in self.module.parameters() if parameter.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a small host tensor over ranks."""
        values = values.to(self.device)
        dist.all_reduce(values)
        return values.cpu()

    def sum_by_name(self, values: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Add (total, count) pairs of all ranks; every rank passes the same names."""
        names = sorted(values)
        flat = torch.tensor([values[name] for name in names], dtype=torch.float64).reshape(-1, 2)
        summed = self._sum(flat)
        return {name: (float(pair[0]), float(pair[1])) for name, pair in zip(names, summed, strict=True)}

    def any_rank(self, flag: bool) -> bool:
        """True on all ranks if it is true on one: ranks agree before they stop."""
        return bool(self._sum(torch.tensor([float(flag)]))[0] > 0)

    def weights(self) -> dict[str, torch.Tensor]:
        """The trained weights in fp32 on the host; with bf16 these are the masters. Every rank calls this."""
        from deepspeed.utils import safe_get_full_fp32_param

        weights: dict[str, torch.Tensor] = {}
        for name, parameter in self.module.named_parameters():
            if name in self._frozen:
                master = self._frozen[name]
            elif parameter.dtype == torch.float32:
                master = parameter.detach()
            else:
                master = safe_get_full_fp32_param(parameter)
            weights[name] = master.float().cpu().contiguous()
        return weights

    def save(self, directory: Path, state: dict[str, Any]) -> None:
        """Write this rank's part of the training state below `directory`."""
        client_state = {CLIENT: state, RNG: torch.get_rng_state()}
        self._engine.save_checkpoint(str(directory), tag=TAG, client_state=client_state, save_latest=False)

    def load(self, directory: Path) -> dict[str, Any]:
        """Restore a verified checkpoint; returns what `save` was given.

        Raises CheckpointError if other ranks wrote it: ZeRO splits the optimiser's state over them.
        """
        from deepspeed.runtime.zero.utils import ZeRORuntimeException

        try:
            _, stored = self._engine.load_checkpoint(str(directory), tag=TAG)
        except (ZeRORuntimeException, AssertionError) as error:
            raise CheckpointError(
                what=f"rank {rank()} of {world_size()} finds no training state of its own in {directory}: {error}",
                why="with zero_stage 1 or 2 each process keeps its own part of the optimiser's state",
                fix="run with as many processes as wrote the checkpoint (`processes` in params.yaml)",
            ) from error
        torch.set_rng_state(stored[RNG])
        state: dict[str, Any] = stored[CLIENT]
        return state


def _require_finite(step: int, *, loss: float, gradient_norm: float | None) -> None:
    """Stop before an update that would put NaN into every weight; all ranks see the same sums and stop alike."""
    if not math.isfinite(loss) or not math.isfinite(gradient_norm or 0.0):
        raise TrackyardError(
            what=f"step {step}: loss {loss}, gradient norm {gradient_norm}",
            why="one update with it would turn the model into NaN; nothing was applied, checkpoints are untouched",
            fix="lower the learning rates of the stage in params.yaml, or look for a damaged row in that step's packs",
        )


class StepResult:
    """What one update tells. loss: weighted mean over the global batch; gradient_norm before clipping."""

    __slots__ = ("gradient_norm", "loss", "losses", "rates")

    def __init__(self, *, loss: float, gradient_norm: float, rates: dict[str, float], losses: list[AnswerLoss]) -> None:
        self.loss = loss
        self.gradient_norm = gradient_norm
        self.rates = rates
        self.losses = losses

"""Typed parameters of training, without tensors: how a step is computed, and how fast each component learns.

Sources: design section 4, molmo2 spec sections 2 and 12, performance spec sections 6 and 9.8.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from trackyard.errors import ConfigError
from trackyard.parameters import Parameters

Recompute = Literal["none", "selective", "full"]
Schedule = Literal["cosine", "linear"]
"""After the warm-up: a cosine to a tenth of the base rate, or a line to 0."""


class EngineParameters(Parameters):
    """How a step is computed; none of it changes what is learned, beyond rounding."""

    micro_batch: int = Field(default=1, ge=1)
    """Packs per forward pass and data-parallel rank."""
    precision: Literal["fp32", "bf16"] = "fp32"
    zero_stage: Literal[0, 1, 2, 3] = 0
    """What the ranks divide among themselves: nothing, optimiser state, gradients as well, weights as well."""
    offload_optimizer: bool = False
    """Keep masters and moments in host memory and update there; needs zero_stage 1 to 3."""
    activation_checkpointing: Recompute = "none"
    """What backward computes again: nothing, all but matrix products and attention, or every layer."""
    context_degree: int = Field(default=1, ge=1)
    """C: ranks that share each pack, its tokens and attention heads divided among them."""
    loss_chunk: int = Field(default=2048, ge=1)
    """Tokens whose logits exist at once."""
    fit: bool = False
    """When a device runs out of memory: go on with a smaller micro-batch, then checkpointing, then offload."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of a single process; several processes share them. More help only models that are not tiny."""
    workers: int = Field(default=0, ge=0)
    """Processes per rank that decode rows ahead; 0 is one thread of the rank itself. The order of rows is the same."""
    keep_checkpoints: int = Field(default=2, ge=1)
    log_every: int = Field(default=1, ge=1)
    """Steps between log points; between them a rank never waits for its device."""
    max_hours: float | None = Field(default=None, gt=0.0)
    """Wall-clock budget of one attempt: at its end the run saves a checkpoint and exits with 75."""

    @model_validator(mode="after")
    def _modes_fit(self) -> Self:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError(
                "precision=bf16 with zero_stage=0: DeepSpeed sums gradients in bf16 there; set zero_stage to 1, 2 or 3"
            )
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("offload_optimizer with zero_stage=0: there is no state to offload; set zero_stage to 1")
        return self


class ComponentRate(Parameters):
    """Base learning rate of a component and its warm-up in steps; a frozen component has rate 0."""

    learning_rate: float = Field(ge=0.0, le=1.0)
    warmup_steps: int = Field(ge=0)


class OptimiserParameters(Parameters):
    """AdamW with a rate per component."""

    rates: dict[str, ComponentRate]
    schedule: Schedule = "cosine"
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    beta2: float = Field(default=0.95, ge=0.0, lt=1.0)
    eps: float = Field(default=1e-6, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    clip_norm: float = Field(default=1.0, gt=0.0)


def accumulation(packs_per_step: int, micro_batch: int, data_ranks: int) -> int:
    """Micro-batches per rank and step; ConfigError unless micro_batch x accumulation x data ranks = packs_per_step."""
    if packs_per_step % (micro_batch * data_ranks):
        raise ConfigError(
            what=f"packs_per_step={packs_per_step} is not a multiple of micro_batch={micro_batch} x ranks={data_ranks}",
            why="the global batch would not be the planned one",
            fix="choose engine.micro_batch and the number of processes so that their product divides packs_per_step",
        )
    return packs_per_step // (micro_batch * data_ranks)

"""Fitting a step into a device: what backward computes again, and what to try when memory runs out.

Source: performance spec sections 6 and 9.8.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

from trackyard.errors import ConfigError
from trackyard.train.parameters import EngineParameters, Recompute

_aten = torch.ops.aten
KEPT = frozenset(
    {
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
        _aten._scaled_dot_product_flash_attention.default,
        _aten._scaled_dot_product_flash_attention_for_cpu.default,
        _aten._scaled_dot_product_efficient_attention.default,
        _aten._scaled_dot_product_cudnn_attention.default,
    }
)
"""Results that `selective` keeps: matrix products and attention, which cost the most to compute again."""


def recompute(model: torch.nn.Module, how: Recompute) -> None:
    """Make the transformer layers of a transformers model compute their insides again in the backward pass.

    Raises ConfigError for a model that cannot.
    """
    if how == "none":
        return
    stock: Any = model
    if not getattr(stock, "supports_gradient_checkpointing", False):
        raise ConfigError(
            what=f"{type(model).__name__} has no activation checkpointing (asked for: {how})",
            why="its layers cannot be told to compute their activations again, so memory would not shrink",
            fix="set engine.activation_checkpointing: none",
        )
    settings: dict[str, Any] = {"use_reentrant": False}
    if how == "selective":
        settings["context_fn"] = functools.partial(create_selective_checkpoint_contexts, _policy)
    stock.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)


def _policy(_context: Any, operation: Any, *_arguments: Any, **_named: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def smaller(engine: EngineParameters) -> tuple[EngineParameters, str] | None:
    """The next thing to try when memory ran out, and what it is in words; None if nothing is left.

    The order is fixed, from what costs no time to what costs most, and the global batch stays: half the micro-batch
    (twice the accumulation) down to 1, checkpointing `selective`, then `full`, then the optimiser in host memory.
    """
    if engine.micro_batch > 1:
        # Half of an odd number would not divide the step any more.
        half = engine.micro_batch // 2 if engine.micro_batch % 2 == 0 else 1
        return engine.model_copy(update={"micro_batch": half}), f"micro_batch {engine.micro_batch} -> {half}"
    further: dict[Recompute, Recompute] = {"none": "selective", "selective": "full"}
    if engine.activation_checkpointing in further:
        more = further[engine.activation_checkpointing]
        change = f"activation_checkpointing {engine.activation_checkpointing} -> {more}"
        return engine.model_copy(update={"activation_checkpointing": more}), change
    if not engine.offload_optimizer:
        # There is nothing to offload under stage 0; stage 1 computes the same.
        stage = max(engine.zero_stage, 1)
        return engine.model_copy(update={"offload_optimizer": True, "zero_stage": stage}), "offload_optimizer -> true"
    return None

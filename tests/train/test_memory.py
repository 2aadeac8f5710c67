"""Activation checkpointing changes no gradient; what is tried when memory runs out, in its order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, get_args

import pytest
import torch

from tests.models.context_ranks import gpt_neox, molmo2, molmo2_packs, text_packs
from tests.train.equality_worlds import FAMILIES
from trackyard.errors import ConfigError
from trackyard.train.memory import recompute, smaller
from trackyard.train.parameters import EngineParameters, Recompute


def gradients(net: Any, family: str, packs: Any, how: Recompute) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of one batch, and the bytes that the graph kept for the backward pass."""
    recompute(net, how)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        total = FAMILIES[family].forward(None)(net, packs).total
    stored = sum(kept.values())
    total.backward()
    return {name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None}, stored


@pytest.mark.parametrize("how", ["selective", "full"])
@pytest.mark.parametrize("family", ["molmo2", "gpt_neox"])
def test_checkpointing_changes_no_gradient(family: str, how: Recompute) -> None:
    build, packs = {"molmo2": (molmo2, molmo2_packs()[2]), "gpt_neox": (gpt_neox, text_packs()[2])}[family]
    wanted, stored = gradients(build(), family, packs, "none")
    found, less = gradients(build(), family, packs, how)
    assert set(found) == set(wanted)
    largest = max(float(gradient.norm()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert float((found[name] - gradient).norm()) <= 1e-5 * max(float(gradient.norm()), 1e-3 * largest), name
    assert less < stored, "nothing was saved: the layers keep what they kept"


def test_a_model_that_cannot_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Linear has no activation checkpointing \(asked for: full\)"):
        recompute(torch.nn.Linear(1, 1), "full")


def test_what_is_tried_when_memory_runs_out() -> None:
    settings: EngineParameters | None = EngineParameters(micro_batch=6, zero_stage=0)
    tried, all_settings = [], []
    while settings is not None:
        all_settings.append(settings)
        found = smaller(settings)
        settings = None if found is None else found[0]
        tried += [] if found is None else [found[1]]
    assert tried == [
        "micro_batch 6 -> 3",
        "micro_batch 3 -> 1",
        "activation_checkpointing none -> selective",
        "activation_checkpointing selective -> full",
        "offload_optimizer -> true",
    ]
    # Each attempt changes one thing, and the last one is a setting that parameters may have.
    for one, other in pairwise(all_settings):
        changed = {name for name, value in one if getattr(other, name) != value}
        assert changed in ({"micro_batch"}, {"activation_checkpointing"}, {"offload_optimizer", "zero_stage"})
    assert EngineParameters.model_validate(all_settings[-1].model_dump()) == all_settings[-1]
    assert {one.activation_checkpointing for one in all_settings} == set(get_args(Recompute))

"""Each audit stops what it is there for, by name; and lets pass what is right."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trackyard.errors import IdentityError
from trackyard.models.theworld.counts import require_counts
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.parameters import TrainingParameters
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.audits import (
    frozen_digest,
    require_branch,
    require_gradients,
    require_unchanged,
)
from trackyard.recipes.datacomp.training.branch import changes, replaced_latents
from trackyard.recipes.datacomp.training.groups import MATRICES, component_of, group_settings, optimiser_of
from trackyard.recipes.datacomp.training.jobs import world_job
from trackyard.train.audit import AuditError

WORLD = Cell(name="world", seed=42)


def test_a_tensor_outside_of_the_graph_is_named() -> None:
    require_gradients({"world.gamma": 1e-9}, 1)
    with pytest.raises(AuditError, match=r"1 of 2 trained tensors are not in the graph: world\.boundaries"):
        require_gradients({"world.gamma": 0.1, "world.boundaries": 0.0}, 1)
    with pytest.raises(AuditError, match="not in the graph"):
        require_gradients({"world.gamma": float("nan")}, 1)


def test_a_branch_that_is_not_read_is_found(trained: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    job = world_job(trained, WORLD)
    model = job.start().model
    batch = _batch(job)
    require_branch(changes(model, batch), reads=True, step=100)
    monkeypatch.setattr(model, "_world_tokens", _constant(model))
    with pytest.raises(AuditError, match="another by 0, zeros by 0, noise by 0; more than"):
        require_branch(changes(model, batch), reads=True, step=100)
    with pytest.raises(AuditError, match="nothing may change for free vectors"):
        require_branch({"zeros": 0.5}, reads=False, step=100)


def test_dead_parameters_of_the_encoder_are_counted_and_refused(trained: Study) -> None:
    """The published count: 73,295,331 of the decoder and 1,328 of the quant layers, none of them in the graph."""
    job = world_job(trained, WORLD)
    start = job.start()
    dead = {"decoder": 73_295_331, "quant_conv": 1_056, "post_quant_conv": 272}
    for name, count in dead.items():
        start.model.register_parameter(name, torch.nn.Parameter(torch.empty(count, device="meta")))
    with pytest.raises(IdentityError) as raised:
        require_counts(start.model, start.counts)
    assert f"{sum(start.counts.values()) + 73_296_659:,} trained parameters" in raised.value.what
    assert all(f"{name}: {count:,} trained, 0 expected" in raised.value.what for name, count in dead.items())


def test_frozen_weights_are_compared_bit_for_bit() -> None:
    weights = {"a": torch.ones(5), "b": torch.zeros(3, dtype=torch.bfloat16)}
    before = frozen_digest(weights)
    require_unchanged(before, frozen_digest(weights))
    weights["a"][2] = 1 + 2**-23
    with pytest.raises(AuditError, match="frozen weights"):
        require_unchanged(before, frozen_digest(weights))


def test_latents_are_replaced_by_others_of_the_batch(trained: Study) -> None:
    batch = _batch(world_job(trained, WORLD))
    found = replaced_latents(batch)
    assert batch.latents is not None
    for name in ("another", "noise"):
        assert (found[name].latents != batch.latents).any(axis=(1, 2, 3)).all()
    assert not found["zeros"].latents.any()  # type: ignore[union-attr]


def test_only_matrices_of_the_projector_decay(trained: Study) -> None:
    names = world_job(trained, WORLD).start().counts
    optimiser = optimiser_of(TrainingParameters(), names)
    assert group_settings(optimiser) == {MATRICES: {"weight_decay": 0.01}, "world": {"weight_decay": 0.0}}
    assert {name for name in names if component_of(name) == MATRICES} == {
        "world.projector.0.weight", "world.projector.2.weight",
    }  # fmt: skip


def test_the_sizes_of_the_default_are_those_of_the_spec() -> None:
    from trackyard.models.theworld.parameters import WorldParameters, total_trainable

    total = total_trainable(WorldParameters(), (16, 64, 64), 2560)
    assert total == 9_185_281
    assert (4 * total, 12 * total) == (36_741_124, 110_223_372)


def _batch(job: Any) -> Any:
    from trackyard.models.theworld.batch import pack

    return pack([job.source.sample(int(number)) for number in job.draws.of_step(0)[:4]])


def _constant(model: Any) -> Any:
    """World tokens that were computed once, whatever they are asked for."""
    kept: list[torch.Tensor] = []

    def tokens(batch: Any, device: torch.device) -> torch.Tensor:
        if not kept:
            kept.append(model.world(torch.from_numpy(batch.latents)).detach())
        return kept[0]

    return tokens

"""The smallest change that fits: one of a fixed order, and no more of it than needed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.estimate.world import assumed, language_model, machine, molmo2
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.fit import smallest_change
from trackyard.estimate.forecast import Forecast, forecast
from trackyard.estimate.workload import Workload
from trackyard.train.flops import PYTHIA_1_4B

H100, A100 = DEVICES["h100"], DEVICES["a100-40"]


def lm(world: int = 1, parameters: int = 1_414_647_808, **engine: Any) -> Workload:
    return language_model(PYTHIA_1_4B, parameters=parameters, length=2048, packs=64, device=A100, world=world, **engine)


def of(work: Workload, **partition: Any) -> Forecast:
    found = forecast(work, machine(A100, **partition), assumed(A100))
    assert not found.fits
    return found


@pytest.mark.parametrize(
    ("work", "changes"),
    [
        (lm(micro_batch=16), ("micro_batch 16 -> 2",)),
        (lm(micro_batch=1, parameters=1_900_000_000), ("activation_checkpointing none -> selective",)),
        (lm(world=4, parameters=4_500_000_000, activation_checkpointing="full"), ("zero_stage 1 -> 2",)),
        (lm(parameters=4_000_000_000, activation_checkpointing="full"), ("offload_optimizer -> true",)),
        (
            lm(world=8, parameters=5_000_000_000, micro_batch=8),
            ("micro_batch 8 -> 1", "zero_stage 1 -> 2"),
        ),
    ],
    ids=["micro-batch", "checkpointing", "zero", "offload", "several"],
)
def test_the_first_of_the_order_that_suffices(work: Workload, changes: tuple[str, ...]) -> None:
    fitting = smallest_change(of(work))
    assert fitting is not None
    assert fitting.changes == changes
    assert fitting.forecast.fits
    assert fitting.forecast.work.packs_per_step == work.packs_per_step


def test_context_parallelism_where_one_pack_is_too_long() -> None:
    work = molmo2("stage3", "h100").changed(context_degree=1, offload_optimizer=True, zero_stage=3)
    fitting = smallest_change(forecast(work, machine(A100), assumed(A100)))
    assert fitting is not None
    assert fitting.changes == ("context_degree 1 -> 4",)


def test_fewer_gpus_where_so_many_are_not_to_be_had() -> None:
    fitting = smallest_change(of(lm(world=16), max_gpus_per_user=12))
    assert fitting is not None
    assert fitting.changes == ("GPUs 16 -> 8",), "64 packs do not divide over 9 to 12"


def test_more_gpus_come_last() -> None:
    work = lm(world=2, parameters=12_000_000_000, micro_batch=1, zero_stage=3, activation_checkpointing="full")
    found = of(work.changed(offload_optimizer=True, context_degree=2), memory_gb_per_node=10_000)
    fitting = smallest_change(found)
    assert fitting is not None
    assert fitting.changes == ("GPUs 2 -> 4",)


def test_nothing_helps_against_weights_that_are_too_large() -> None:
    assert smallest_change(of(lm(parameters=200_000_000_000))) is None

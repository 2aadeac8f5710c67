"""Step times: the table of performance spec 9.8, and the published runs of its section 5 as plausibility."""

from __future__ import annotations

import pytest

from tests.estimate.world import assumed, language_model, machine, molmo2
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.duration import all_to_all_bytes, executed_flops, step_time
from trackyard.estimate.forecast import forecast
from trackyard.estimate.workload import Attended
from trackyard.train.flops import PYTHIA_1_4B, Transformer, step_flops

WITHIN = 1.6
"""Published runs land within this factor of what is assumed of a device."""
MPT_1B = Transformer(layers=24, hidden=2048, heads=16, kv_heads=16, head_dim=128, ffn=8192, gated=False, vocab=50_368)
LLAMA_8B = Transformer(
    layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=14_336, gated=True, vocab=128_256
)
TINY_LLAMA = Transformer(layers=22, hidden=2048, heads=32, kv_heads=4, head_dim=64, ffn=5632, gated=True, vocab=32_000)


@pytest.mark.parametrize(
    ("shape", "parameters", "device", "gpus", "length", "checkpointing", "published"),
    [
        (MPT_1B, 1_316_000_000, "h100", 8, 2048, "none", 45_455),
        (MPT_1B, 1_316_000_000, "a100-80", 8, 2048, "none", 20_513),
        (MPT_1B, 1_316_000_000, "a100-40", 8, 2048, "none", 19_271),
        (LLAMA_8B, 8_030_000_000, "h200", 1, 4096, "full", 10_471),
        (LLAMA_8B, 8_030_000_000, "h200", 4, 4096, "full", 9_746),
        (TINY_LLAMA, 1_100_000_000, "a100-40", 8, 2048, "none", 24_000),
        (PYTHIA_1_4B, 1_414_647_808, "a100-40", 64, 2048, "full", 11_700),
    ],
)
def test_published_runs(
    shape: Transformer, parameters: int, device: str, gpus: int, length: int, checkpointing: str, published: float
) -> None:
    """Tokens/s of a GPU. The factor is wide: the assumption is one number for a device."""
    work = language_model(
        shape,
        parameters=parameters,
        length=length,
        packs=64 * gpus,
        device=DEVICES[device],
        world=gpus,
        activation_checkpointing=checkpointing,
    )
    here = machine(DEVICES[device], nodes=8, network_gbit_per_node=3200)
    found = forecast(work, here, assumed(DEVICES[device])).step.tokens_per_s / gpus
    assert published / WITHIN < found < published * WITHIN


@pytest.mark.parametrize(("degree", "gigabytes"), [(1, 0.0), (2, 6.8), (4, 5.1), (8, 2.97)])
def test_all_to_all_of_qwen3_4b(degree: int, gigabytes: float) -> None:
    attended = Attended(layers=36, heads=32, kv_heads=8, head_dim=128, length=36_864)
    assert all_to_all_bytes(attended, degree, 2) == pytest.approx(gigabytes * 1e9, rel=0.01)


def test_context_parallelism_costs_more_across_nodes() -> None:
    """performance spec 9.8: 20 ms on NVLink and 178 ms on InfiniBand at degree 8, everything computed again."""
    device = DEVICES["h200"]
    work = molmo2("stage3", "h200").changed(activation_checkpointing="full", zero_stage=2)
    inside, across = (step_time(work, device, rate=4e14, gpus_per_node=gpus, network=50e9).context for gpus in (8, 4))
    packs = work.packs_per_step / work.data_ranks
    assert inside / packs == pytest.approx(0.020, rel=0.05)
    assert across / packs == pytest.approx(0.178, rel=0.05)


def test_what_is_computed_again_is_executed_and_not_counted() -> None:
    work = molmo2("stage2")
    again = work.changed(activation_checkpointing="full")
    assert executed_flops(again) == pytest.approx(4 / 3 * executed_flops(work), rel=0.01)
    assert step_flops(again.useful) == step_flops(work.useful)


def test_a_slow_feed_is_what_a_step_waits_for() -> None:
    device = DEVICES["h200"]
    work = molmo2("stage2", "h200").changed(workers=1)
    found = step_time(work, device, rate=device.rate, gpus_per_node=8, network=None)
    assert found.limited_by == "data"
    assert found.seconds == found.data


def test_reducing_every_micro_batch_between_nodes_is_seen() -> None:
    device = DEVICES["a100-40"]
    work = molmo2("stage1", "a100-40", world=8)
    near, far = (step_time(work, device, rate=device.rate, gpus_per_node=gpus, network=3e9).exchange for gpus in (8, 4))
    assert near == 0.0
    assert far > 1.0

"""Memory of a rank: what ZeRO, offload, checkpointing and chunks do to it."""

from __future__ import annotations

import pytest

from tests.estimate.world import language_model, molmo2
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.memory import rank_memory, total
from trackyard.estimate.workload import Workload
from trackyard.train.flops import Transformer

H200 = DEVICES["h200"]
QWEN3_4B = Transformer(layers=36, hidden=2560, heads=32, kv_heads=8, head_dim=128, ffn=9728, gated=True, vocab=151_936)


def items(work: Workload) -> dict[str, float]:
    return {item.name: item.bytes for item in rank_memory(work, H200)}


def qwen(**engine: object) -> Workload:
    """36,864 tokens of Qwen3-4B on 8 ranks, as performance spec 9.8 has it."""
    settings = {"activation_checkpointing": "full", "loss_chunk": 10**6} | engine
    return language_model(QWEN3_4B, parameters=4_000_000_000, length=36_864, packs=64, device=H200, world=8, **settings)


@pytest.mark.parametrize(("degree", "gigabytes"), [(1, 6.8), (2, 3.4), (4, 1.7), (8, 0.85)])
def test_activations_under_full_checkpointing(degree: int, gigabytes: float) -> None:
    """The inputs of all layers; the layer that is being computed again comes on top."""
    one, other = qwen(context_degree=degree), qwen(context_degree=degree, activation_checkpointing="none")
    layer = items(other)["activations"] / (QWEN3_4B.layers + 1)
    assert items(one)["activations"] - layer == pytest.approx(gigabytes * 1e9, rel=0.02)


def test_activations_without_checkpointing_are_those_of_unfused_layers() -> None:
    """The spec's 125 GB are a lower bound, of fused layers; ours are the stock ones."""
    found = items(qwen(activation_checkpointing="none"))["activations"]
    assert 125e9 < found < 2.2 * 125e9


def test_states_are_divided_as_zero_says() -> None:
    names = ("weights", "gradients", "masters and moments")
    held = {stage: [items(qwen(zero_stage=stage))[name] / 4_000_000_000 for name in names] for stage in (1, 2, 3)}
    assert held == {1: [2, 4, 1.5], 2: [2, 0.5, 1.5], 3: [0.25, 0.5, 1.5]}


def test_states_of_a_lone_rank_in_fp32() -> None:
    found = items(molmo2("stage1", "mini", DEVICES["cpu"]))
    assert found["weights"] == found["gradients"] == 4 * 813_856
    assert found["masters and moments"] == 8 * 813_856


def test_offload_moves_masters_and_moments_to_the_host() -> None:
    before, after = qwen(zero_stage=2), qwen(zero_stage=2, offload_optimizer=True)
    moved = items(before)["masters and moments"]
    there = [item for item in rank_memory(after, H200) if item.where == "host"]
    assert sum(item.bytes for item in there if item.name == "masters and moments") == moved
    assert total(rank_memory(before, H200), "device") - total(rank_memory(after, H200), "device") > moved


def test_logits_of_a_chunk_are_all_there_is() -> None:
    whole, chunked = items(qwen())["logits"], items(qwen(loss_chunk=2048))["logits"]
    assert whole == pytest.approx(36_864 * 151_936 * 14)
    assert chunked == pytest.approx(2048 * 151_936 * 14)


def test_workers_hold_what_they_decoded() -> None:
    few, many = (items(molmo2("stage2", "h200").changed(workers=workers)) for workers in (1, 9))
    assert many["decoded rows and workers"] == pytest.approx(9 * few["decoded rows and workers"])

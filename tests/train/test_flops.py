"""FLOP of a step by the project's convention, against the published check values. Source: performance spec."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.models.presets import PRESETS
from trackyard.train.flops import (
    GEMMA3_4B,
    PYTHIA_1_4B,
    SIGLIP_896,
    Attention,
    Transformer,
    Work,
    causal_pairs,
    decoder_work,
    gemma3_projector_work,
    gpt_neox_work,
    mfu,
    mfu_words,
    molmo2_work,
    peak,
    step_flops,
)

QWEN3_4B = Transformer(layers=36, hidden=2560, heads=32, kv_heads=8, head_dim=128, ffn=9728, gated=True, vocab=151_936)


def test_check_value_of_pythia() -> None:
    """8.47 GFLOP per token: 6 x 1.311 G and causal attention once."""
    length = 2048
    assert PYTHIA_1_4B.weights == pytest.approx(1.208e9, rel=1e-3)
    assert PYTHIA_1_4B.head == pytest.approx(0.103e9, rel=1e-2)
    per_token = step_flops(gpt_neox_work(PYTHIA_1_4B, tokens=length, pairs=causal_pairs([length]))) / length
    assert per_token == pytest.approx(8.47e9, rel=1e-3)
    assert per_token == 6 * (PYTHIA_1_4B.weights + PYTHIA_1_4B.head) + 6 * 24 * length * 2048


def test_negative_control_counting_attention_in_full_and_the_embedding_reads_fourteen_per_cent_more() -> None:
    length = 2048
    twice = gpt_neox_work(PYTHIA_1_4B, tokens=length, pairs=length**2)
    embedding = Work(name="embedding", weights=PYTHIA_1_4B.head, tokens=length)
    ours = step_flops(gpt_neox_work(PYTHIA_1_4B, tokens=length, pairs=causal_pairs([length])))
    assert step_flops([*twice, embedding]) / length == pytest.approx(9.69e9, rel=2e-3)
    assert step_flops([*twice, embedding]) / ours == pytest.approx(1.14, abs=0.005)


@pytest.mark.parametrize(("length", "petaflops", "share"), [(16_384, 0.63, 0.38), (36_864, 2.09, 0.57)])
def test_qwen3_4b(length: int, petaflops: float, share: float) -> None:
    parts = decoder_work(QWEN3_4B, tokens=length, answers=length, pairs=causal_pairs([length]), gradient="trained")
    total = step_flops(parts)
    assert total == pytest.approx(petaflops * 1e15, rel=0.01)
    attention = sum(12 * part.layers * part.width * part.pairs for work in parts for part in work.attention)
    assert attention / total == pytest.approx(share, abs=0.01)


def test_molmo2_counts_the_weights_that_the_model_has() -> None:
    vit, keys, connector, llm, head = molmo2_work(
        PRESETS["4b"], tokens=1, answers=1, pairs=0, crops=1, pooled=1, window=4
    )
    assert keys.weights + connector.weights == pytest.approx(56.6e6, rel=1e-2)
    assert vit.weights == pytest.approx(382.5e6, rel=1e-2)
    # The model's 4,411.8 M hold the input embedding as well, which is no product.
    assert llm.weights + 2 * head.weights == pytest.approx(4411.8e6, rel=1e-3)


def test_the_vision_tower_over_384_frames() -> None:
    frames = 384.0
    [vit, *_] = molmo2_work(
        PRESETS["4b"], tokens=0, answers=0, pairs=0, crops=frames, pooled=0, window=9, trained=("connector", "llm")
    )
    assert vit.gradient == "none"
    assert vit.flops == pytest.approx(0.24e15, rel=0.02)
    [trained, *_] = molmo2_work(PRESETS["4b"], tokens=0, answers=0, pairs=0, crops=frames, pooled=0, window=9)
    assert trained.flops == pytest.approx(0.72e15, rel=0.02)


def test_theworld() -> None:
    """56.8 TF per spatial sample are the products alone; attention and the frozen tower come on top."""
    work = gemma3_projector_work(lengths=[4410], answers=60, images=1, world_tokens=4096, projector=6_594_560)
    by_name = {part.name: part for part in work}
    products = [Work(name=part.name, weights=part.weights, tokens=part.tokens, gradient=part.gradient) for part in work]
    behind = step_flops(part for part in products if part.name in ("llm", "head", "world projector"))
    assert behind == pytest.approx(56.8e12, rel=0.005)
    assert by_name["llm"].flops == pytest.approx(60.7e12, rel=0.005)
    assert by_name["vision tower"].flops == pytest.approx(5.5e12, rel=0.05)
    assert GEMMA3_4B.weights + GEMMA3_4B.head == pytest.approx(3.880e9, rel=1e-3)
    assert SIGLIP_896.weights == pytest.approx(416.9e6, rel=0.02)


def test_a_frozen_part_counts_by_what_lies_before_it() -> None:
    attention = (Attention(layers=2, width=8, pairs=100),)
    flops = {
        state: Work(name="x", weights=10, tokens=5, gradient=state, attention=attention).flops  # type: ignore[arg-type]
        for state in ("trained", "passes", "none")
    }
    assert flops == {"trained": 300 + 19_200, "passes": 200 + 19_200, "none": 100 + 6_400}
    middle = molmo2_work(
        PRESETS["4b"], tokens=1, answers=1, pairs=1, crops=1, pooled=1, window=4, trained=("connector",)
    )
    assert [part.gradient for part in middle] == ["none", "trained", "trained", "passes", "passes"]


@given(st.lists(st.integers(1, 400), max_size=8), st.integers(1, 300))
def test_pairs_of_a_window_equal_the_count_up_to_half_a_token(lengths: list[int], window: int) -> None:
    for size in (None, window):
        counted = sum(min(query + 1, size or length) for length in lengths for query in range(length))
        assert abs(causal_pairs(lengths, size) - counted) <= sum(lengths) / 2 + 1e-6


def test_mfu_has_the_peak_of_the_device_and_none_of_an_unknown_one() -> None:
    flops = 8.47e9 * 58_400
    assert mfu(flops, seconds=1.0, gpus=1, device="NVIDIA H200") == pytest.approx(0.50, abs=0.001)
    assert mfu(flops, seconds=1.0, gpus=2, device="NVIDIA H100 80GB HBM3") == pytest.approx(0.25, abs=0.001)
    assert peak("NVIDIA A100-SXM4-40GB") == 312e12
    assert mfu_words("NVIDIA H200") == "causal once, no recompute, bf16 peak 989 TFLOP/s"
    for unknown in ("AMD EPYC", "NVIDIA H100 PCIe", "NVIDIA H100 NVL"):
        assert mfu(flops, seconds=1.0, gpus=1, device=unknown) is None
        assert mfu_words(unknown) == f"no MFU: the bf16 peak of '{unknown}' is not known (known: A100, H100, H200)"


def test_no_torch_is_imported() -> None:
    code = "import sys, trackyard.train.flops; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

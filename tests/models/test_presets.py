"""The sizes of molmo2 spec section 1 and what follows from them, counted on the meta device."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from transformers import Molmo2ForConditionalGeneration, Olmo3Config, Olmo3ForCausalLM

from trackyard.feed.geometry import VisionGeometry
from trackyard.models.molmo2 import Component, build_config, parameter_counts
from trackyard.models.presets import PRESETS


@cache
def of_preset(name: str) -> dict[Component, int]:
    """Parameters per component, counted without memory for them."""
    preset = PRESETS[name]
    config = build_config(preset, VisionGeometry(), vocab_size=preset.vocab_size, max_positions=4096)
    with torch.device("meta"):
        return parameter_counts(Molmo2ForConditionalGeneration(config))


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("nano", ("382.5", "19.5", "751.8")),
        ("4b", ("382.5", "56.6", "4411.8")),
        ("8b", ("382.5", "87.9", "8191.3")),
        ("o7b", ("382.5", "79.7", "7299.1")),
    ],
)
def test_parameters_per_component(name: str, millions: tuple[str, str, str]) -> None:
    counts = of_preset(name)
    assert tuple(f"{counts[part] / 1e6:.1f}" for part in ("vit", "connector", "llm")) == millions  # type: ignore[index]


def test_every_preset_divides_into_heads() -> None:
    for name, preset in PRESETS.items():
        assert preset.heads % preset.kv_heads == 0, name
        assert preset.vit_hidden % preset.vit_heads == 0, name
        assert max(preset.vit_feature_layers) == preset.vit_layers - 1, "a deeper layer would have no gradient"


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("nano", (1024, 28, 16, 8, 128, 3072)),
        ("4b", (2560, 36, 32, 8, 128, 9728)),
        ("8b", (4096, 36, 32, 8, 128, 12288)),
        ("o7b", (4096, 32, 32, 32, 128, 11008)),
    ],
)
def test_the_table_of_section_1(name: str, sizes: tuple[int, ...]) -> None:
    preset = PRESETS[name]
    found = (preset.hidden_size, preset.layers, preset.heads, preset.kv_heads, preset.head_dim, preset.ffn)
    assert found == sizes
    assert (preset.vit_hidden, preset.vit_layers, preset.vit_feature_layers) == (1152, 25, (24, 18))
    adapter = build_config(preset, VisionGeometry(), vocab_size=64, max_positions=64).adapter_config
    assert (adapter.intermediate_size, adapter.text_hidden_size) == (preset.ffn, preset.hidden_size)


def test_the_report_rounds_the_sizes_of_o7b_as_it_prints_them() -> None:
    counts = of_preset("o7b")
    assert (round(counts["connector"] / 1e7), round(counts["llm"] / 1e8)) == (8, 73)


@pytest.mark.parametrize(("name", "gigabytes"), [("nano", 16.2), ("4b", 67.9), ("8b", 121.3)])
def test_a_checkpoint_has_14_bytes_per_parameter(name: str, gigabytes: float) -> None:
    """Molmo2 spec section 13: fp32 master weights and two moments, and the bf16 copy."""
    assert round((3 * 4 + 2) * sum(of_preset(name).values()) / 1e9, 1) == gigabytes


def test_added_tokens_follow_the_vocabulary_of_qwen3() -> None:
    """Molmo2 spec section 1: ids from 151,936 on, in the order of the list."""
    config = build_config(PRESETS["8b"], VisionGeometry(), vocab_size=PRESETS["8b"].vocab_size, max_positions=64)
    offsets = {
        "image_start_token_id": 0, "image_end_token_id": 1, "image_patch_id": 2, "low_res_image_start_token_id": 4,
        "frame_start_token_id": 7, "frame_end_token_id": 8,
    }  # fmt: skip
    assert {name: getattr(config, name) - 151_936 for name in offsets} == offsets
    assert config.text_config.additional_vocab_size == 128


@pytest.mark.parametrize(("name", "norms"), [("8b", ("qwen3", False)), ("o7b", ("olmo", True))])
def test_norms_are_where_the_language_model_has_them(name: str, norms: tuple[str, bool]) -> None:
    text = build_config(PRESETS[name], VisionGeometry(), vocab_size=64, max_positions=64).text_config
    assert (text.qk_norm_type, text.norm_after) == norms


def test_the_language_model_of_o7b_is_olmo_3() -> None:
    """The same weights give the same logits, up to the reach of Olmo 3's sliding window: the stock class has none."""
    window = 32
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 48, "vocab_size": 64}
    small = replace(PRESETS["o7b"], hidden_size=32, layers=4, heads=4, kv_heads=4, head_dim=8, ffn=48, vit_layers=2,
                    vit_hidden=16, vit_heads=2, vit_ffn=16, vit_feature_layers=(1, 0))  # fmt: skip
    geometry = VisionGeometry(crop_size=32, patch_size=8, margin=(1, 1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        olmo = Olmo3ForCausalLM(Olmo3Config(
            **sizes, num_attention_heads=4, sliding_window=window, rms_norm_eps=1e-6, pad_token_id=None,
            eos_token_id=None, max_position_embeddings=64,
        )).eval()  # fmt: skip
        molmo = Molmo2ForConditionalGeneration(build_config(small, geometry, vocab_size=64, max_positions=64)).eval()
        ids = torch.randint(0, 64, (1, 60))
        for name, parameter in olmo.named_parameters():
            if name.endswith("norm.weight"):
                torch.nn.init.normal_(parameter, 1, 0.2)  # all ones would not tell one norm from another
    places = dict(molmo.named_parameters())
    renamed = {"post_attention_layernorm": "input_layernorm", "post_feedforward_layernorm": "post_attention_layernorm"}
    with torch.no_grad():
        for name, tensor in olmo.state_dict().items():
            parts = [renamed.get(part, part) for part in name.replace("model.", "model.language_model.", 1).split(".")]
            places[".".join(parts)][: len(tensor)].copy_(tensor)
        near = (olmo(ids[:, :window]).logits - molmo(input_ids=ids[:, :window]).logits).abs().max()
        far = (olmo(ids).logits - molmo(input_ids=ids).logits).abs().max()
    assert near <= 1e-6
    assert far > 1e-3

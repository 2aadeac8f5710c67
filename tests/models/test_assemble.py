"""Molmo2 put together from a language model and a vision tower behaves like both, and refuses what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from tests.tiny_molmo2 import GEOMETRY
from trackyard.errors import ConfigError
from trackyard.models.assemble import assemble
from trackyard.models.presets import Preset

torch.set_num_threads(1)

VOCABULARY = 300
SHAPE = Preset(
    hidden_size=64,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    ffn=128,
    vit_hidden=48,
    vit_layers=3,
    vit_heads=4,
    vit_ffn=96,
    vit_feature_layers=(2, 1),
    vocab_size=VOCABULARY,
)
VISION = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "image_size": GEOMETRY.crop_size,
    "patch_size": GEOMETRY.patch_size,
}


def language_model(*, tied: bool) -> Any:
    torch.manual_seed(int(tied))
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=128,
        rms_norm_eps=3e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 5_000.0},
        tie_word_embeddings=tied,
        initializer_range=0.1,
    )
    return Qwen3ForCausalLM(config).eval()


def vision_tower() -> Any:
    torch.manual_seed(2)
    tower = SiglipVisionModel(SiglipVisionConfig(**VISION)).eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return tower


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    language_model(tied=True).save_pretrained(root / "tied")
    language_model(tied=False).save_pretrained(root / "untied")
    vision_tower().save_pretrained(root / "vision")
    return root


def put_together(root: Path, *, llm: str = "tied", vision: str = "vision", preset: Preset = SHAPE) -> Any:
    return assemble(preset, GEOMETRY, llm=str(root / llm), vision=str(root / vision), max_positions=64, seed=0).eval()


@pytest.mark.parametrize("llm", ["tied", "untied"])
@torch.inference_mode()
def test_text_alone_gives_the_logits_of_the_language_model(sources: Path, llm: str) -> None:
    ids = torch.randint(0, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(0))
    causal = torch.ones(40, 40, dtype=torch.bool).tril().expand(2, 1, 40, 40)
    wanted = language_model(tied=llm == "tied")(ids).logits
    assembled = put_together(sources, llm=llm)
    assert (assembled(ids, attention_mask=causal).logits - wanted).abs().max() <= 1e-5
    # Negative control: the comparison is not one of zeros, and sees the context.
    assert wanted.std() > 0.1
    assert (assembled(ids.flip(1), attention_mask=causal).logits[:, -1] - wanted[:, -1]).abs().max() > 1e-2


@torch.inference_mode()
def test_the_vision_tower_sees_what_siglip_sees(sources: Path) -> None:
    crop, patch = GEOMETRY.crop_size, GEOMETRY.patch_size
    image = torch.rand(3, crop, crop, generator=torch.Generator().manual_seed(1)) * 2 - 1
    wanted = vision_tower()(image[None], output_hidden_states=True).hidden_states
    side = crop // patch
    # Patches row by row, and in a patch pixel by pixel with the channel last: as the feed cuts them.
    rows = [
        image[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch].permute(1, 2, 0).flatten()
        for r in range(side)
        for c in range(side)
    ]
    patches = torch.stack(rows)[None]
    tower = put_together(sources).model.vision_tower
    found = tower(patches, output_hidden_states=True).hidden_states
    assert len(found) == SHAPE.vit_layers + 1 < len(wanted)
    for layer, hidden in enumerate(found):
        assert (hidden - wanted[layer]).abs().max() <= 1e-5, f"layer {layer}"
    # Negative controls: another order of patches, or of values in a patch, is seen.
    assert (tower(patches.flip(1)).last_hidden_state - found[-1]).abs().max() > 1e-2
    channels_first = patches.unflatten(2, (-1, 3)).transpose(2, 3).flatten(2)
    assert (tower(channels_first).last_hidden_state - found[-1]).abs().max() > 1e-2


def test_a_tied_head_becomes_a_copy_that_trains_on_its_own(sources: Path) -> None:
    assembled = put_together(sources)
    table = assembled.model.language_model.embed_tokens.weight
    assert torch.equal(assembled.lm_head.weight, table[:VOCABULARY])
    assert assembled.lm_head.weight.data_ptr() != table.data_ptr()
    untied = put_together(sources, llm="untied")
    assert not torch.equal(untied.lm_head.weight, untied.model.language_model.embed_tokens.weight[:VOCABULARY])


def test_what_is_not_copied_depends_on_the_seed_only(sources: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = put_together(sources)
    assert torch.equal(torch.rand(3), expected)
    two = put_together(sources)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, two.get_parameter(name)), name
    assert one.model.language_model.embed_tokens.weight[VOCABULARY:].std() > 0


def test_constants_follow_the_sources(sources: Path) -> None:
    config = put_together(sources).config
    assert config.text_config.rope_parameters["rope_theta"] == 5_000.0
    assert config.text_config.rms_norm_eps == 3e-6
    assert config.text_config.max_position_embeddings == 64
    assert (config.text_config.vocab_size, config.image_start_token_id) == (VOCABULARY, VOCABULARY)


def test_the_tower_of_a_two_tower_model_is_found(sources: Path, tmp_path: Path) -> None:
    text = {
        "vocab_size": 50,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    both = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    both.vision_model.load_state_dict(vision_tower().state_dict())
    both.save_pretrained(tmp_path / "both")
    wanted = put_together(sources).model.vision_tower.state_dict()
    found = assemble(
        SHAPE, GEOMETRY, llm=str(sources / "tied"), vision=str(tmp_path / "both"), max_positions=64, seed=0
    )
    for name, tensor in found.model.vision_tower.state_dict().items():  # type: ignore[union-attr, operator]
        assert torch.equal(tensor, wanted[name]), name


def edited(directory: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    to.mkdir()
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    (to / "config.json").write_bytes((directory / "config.json").read_bytes())
    return to


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("tied", "model.layers.1.mlp.up_proj.weight"),
        ("untied", "lm_head.weight"),
        ("vision", "embeddings.position_embedding.weight"),
    ],
)
def test_a_tensor_that_the_files_lack_is_refused(sources: Path, tmp_path: Path, source: str, name: str) -> None:
    stored = next(key for key in load_file(sources / source / "model.safetensors") if key.endswith(name))
    edited(sources / source, tmp_path / "cut", lambda tensors: tensors.pop(stored))
    other = "tied" if source == "vision" else "vision"
    (tmp_path / other).symlink_to(sources / other)
    names = {"vision": "cut"} if source == "vision" else {"llm": "cut"}
    with pytest.raises(ConfigError, match=r"is missing in .*cut"):
        put_together(tmp_path, **names)


def test_a_tensor_of_another_shape_than_its_own_configuration_is_refused(sources: Path, tmp_path: Path) -> None:
    def widen(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] = torch.ones(65)

    edited(sources / "tied", tmp_path / "wide", widen)
    (tmp_path / "vision").symlink_to(sources / "vision")
    with pytest.raises(ConfigError, match=r"model.norm.weight in .*wide has the shape .*65"):
        put_together(tmp_path, llm="wide")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 1}, r"model\.language_model\.layers\.1\..* has no place"),
        ({"layers": 3}, r"model\.language_model\.layers\.2\..* has no source"),
        ({"hidden_size": 32}, r"embed_tokens\.weight: \(300, 64\) into \(300, 32\)"),
        ({"hidden_size": 128}, r"embed_tokens\.weight: \(300, 64\) into \(300, 128\)"),
        ({"ffn": 256}, r"gate_proj\.weight: \(128, 64\) into \(256, 64\)"),
        ({"heads": 8, "head_dim": 8}, r"q_norm\.weight: \(16,\) into \(8,\)"),
        ({"vit_layers": 6}, r"model\.vision_tower\.layers\.5\..* has no source"),
        ({"vit_ffn": 64}, r"mlp\.fc1\.weight: \(96, 48\) into \(64, 48\)"),
        ({"vit_heads": 8}, r"has 4 heads, the preset 8"),
    ],
)
def test_another_preset_is_refused_by_name(sources: Path, change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        put_together(sources, preset=replace(SHAPE, **change))
    assert "molmo2.model.preset" in caught.value.fix


def test_a_language_model_with_other_parts_is_refused(sources: Path, tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = json.loads((sources / "tied" / "config.json").read_text())
    keys = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
    )
    Qwen2ForCausalLM(Qwen2Config(**{key: config[key] for key in keys})).save_pretrained(tmp_path / "other")
    (tmp_path / "vision").symlink_to(sources / "vision")
    with pytest.raises(ConfigError, match=r"q_norm\.weight has no source"):
        put_together(tmp_path, llm="other")

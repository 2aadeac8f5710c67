"""Folders of VAEs: class, facts, counts of real configurations, tensors that must match."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_vaes import edit_config, facts, random_vae
from trackyard.errors import ConfigError, DataError
from trackyard.models.world_encoders.folder import PLUGINS, WEIGHTS, counts_of, load_parts, plugin_of
from trackyard.models.world_encoders.plugin import ENCODING
from trackyard.models.world_encoders.wan import WanPlugin

REAL = {"_class_name": "AutoencoderKLWan", "latents_mean": [-0.7571] + 15 * [0.1], "latents_std": [2.8184] + 15 * [2.0]}
"""The published encoder is the class's default architecture."""


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan")
    random_vae(folder, "AutoencoderKLWan")
    return folder


@pytest.fixture
def copy(wan: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(wan, tmp_path / "vae"))


def test_counts_and_latent_shape_of_the_real_encoder_without_its_weights() -> None:
    plugin = WanPlugin(REAL)
    model = plugin.build()
    counts = counts_of(model)
    assert counts == {"encoder": 53_595_872, "quant_conv": 1_056, "post_quant_conv": 272, "decoder": 73_295_331}
    assert sum(counts.values()) == 126_892_531
    assert sum(counts[part] for part in ENCODING) == 53_596_928
    latent = plugin.encoded(model, torch.zeros(1, 3, 1, 512, 512, device="meta"))
    assert latent.shape == (1, 16, 1, 64, 64)
    assert (plugin.channels, 512 // plugin.factor, plugin.value_range) == (16, 64, (-1.0, 1.0))


def test_only_the_parts_asked_for_are_loaded_in_fp32_and_frozen(copy: Path) -> None:
    halved = {name: tensor.bfloat16() for name, tensor in load_file(copy / WEIGHTS).items()}
    save_file(halved, copy / WEIGHTS)
    half = load_parts(copy, plugin_of(copy), ENCODING, torch.device("cpu"))
    assert [name for name, _ in half.named_children()] == list(ENCODING)
    assert all(p.dtype == torch.float32 and not p.requires_grad and not p.is_meta for p in half.parameters())


@pytest.mark.parametrize("name", ["AutoencoderKL", None, 3])
def test_another_class_is_refused(copy: Path, name: object) -> None:
    edit_config(copy, _class_name=name)
    with pytest.raises(ConfigError, match="AutoencoderKLWan, AutoencoderKLCosmos"):
        plugin_of(copy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latents_mean": None}, "latents_mean of AutoencoderKLWan is missing"),
        ({"latents_std": None}, "latents_std of AutoencoderKLWan is missing"),
        ({"latents_std": [1.0] * 15}, "for 15 channels, its latents have 16"),
        ({"latents_std": [1.0] * 15 + [0.0]}, "latents_std of AutoencoderKLWan holds 0.0"),
    ],
)
def test_statistics_come_from_the_file_and_never_from_defaults_of_the_class(
    copy: Path, changes: dict[str, object], words: str
) -> None:
    edit_config(copy, **changes)
    with pytest.raises(ConfigError, match=words):
        plugin_of(copy)


def test_weights_that_do_not_match_are_named(copy: Path) -> None:
    state = load_file(copy / WEIGHTS)
    state["encoder.added"] = state.pop("encoder.conv_in.bias")
    state["quant_conv.weight"] = state["quant_conv.weight"][:4].clone()
    save_file(state, copy / WEIGHTS)
    with pytest.raises(DataError, match="3 weights do not match") as caught:
        load_parts(copy, plugin_of(copy), ENCODING, torch.device("cpu"))
    for words in ("encoder.added is not of", "encoder.conv_in.bias is missing", "quant_conv.weight has shape (4, "):
        assert words in caught.value.what


def test_absent_files_and_odd_sizes_are_refused(copy: Path) -> None:
    with pytest.raises(ConfigError, match="8 x 8 pixels"):
        facts(copy, 33)
    (copy / WEIGHTS).unlink()
    with pytest.raises(DataError, match="safetensors or not at all"):
        facts(copy)
    (copy / "config.json").unlink()
    with pytest.raises(DataError, match="which class the encoder is"):
        plugin_of(copy)


def test_facts_follow_from_every_byte(copy: Path) -> None:
    first = facts(copy)
    assert first.shape == (16, 4, 4)
    assert first.preprocessing == "test/1 to 32x32 in [-1, 1]"
    state = load_file(copy / WEIGHTS)
    state["decoder.conv_in.bias"][0] += 1
    save_file(state, copy / WEIGHTS)
    second = facts(copy)
    edit_config(copy, latents_mean=[0.5] * 16)
    third = facts(copy)
    assert [line.split(":")[0] for line in first.differences(second)] == ["weights"]
    assert [line.split(":")[0] for line in second.differences(third)] == ["config"]
    assert len({one.key("ab" * 32) for one in (first, second, third)}) == 3


def test_plugins_are_named_by_their_class() -> None:
    assert {name: plugin.class_name for name, plugin in PLUGINS.items()} == {name: name for name in PLUGINS}

"""The export under published keys: every key, and the same logits from the stock class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Molmo2Config, Molmo2ForConditionalGeneration

from tests.tiny_molmo2 import GEOMETRY, VIDEO, batch, model, sample, tokens
from trackyard.errors import ConfigError
from trackyard.feed.geometry import VisionGeometry
from trackyard.models.molmo2 import build_config, load_molmo2
from trackyard.models.presets import PRESETS
from trackyard.publish.export import write_export
from trackyard.publish.hub_layout import hub_config
from trackyard.recipes.molmo2.forward import forward


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("export") / "export"
    directory.mkdir()
    write_export(directory, model(), tokens(), GEOMETRY, VIDEO)
    return directory


def in_hub_layout(export: Path, target: Path) -> None:
    """A copy with a configuration in published keys."""
    shutil.copytree(export, target)
    (target / "config.json").write_text(json.dumps(hub_config(json.loads((export / "config.json").read_text()))))


def test_published_keys_at_the_real_size() -> None:
    config = build_config(PRESETS["4b"], VisionGeometry(), vocab_size=151_936, max_positions=36_864)
    found = hub_config(json.loads(config.to_json_string(use_diff=False)))
    vit, adapter, text = found["vit_config"], found["adapter_config"], found["text_config"]
    assert "vision_config" not in found
    assert (vit["image_default_input_size"], vit["image_patch_size"], vit["image_num_pos"]) == ([378, 378], 14, 729)
    assert vit["num_hidden_layers"] == 27
    assert adapter["vit_layers"] == [-3, -9]
    assert (text["qkv_bias"], text["use_qk_norm"], text["rope_theta"]) == (False, True, 1_000_000.0)
    assert text["layer_norm_eps"] == 1e-6
    assert not {"attention_bias", "rms_norm_eps", "rope_parameters"} & set(text)


def test_the_stock_class_gives_the_same_logits_from_either_layout(export: Path, tmp_path: Path) -> None:
    in_hub_layout(export, tmp_path / "hub")
    assert {path.name for path in export.iterdir()} == {path.name for path in (tmp_path / "hub").iterdir()}
    assert Molmo2Config.from_pretrained(tmp_path / "hub").adapter_config.vision_feature_layer == [2, 1]
    packs = batch([[sample("pixmo-points", 0), sample("tulu", 0)], [sample("molmo2-cap", 0)]])

    def loss(folder: Path) -> tuple[torch.Tensor, Any]:
        loaded = load_molmo2(folder, max_positions=320).eval()
        with torch.no_grad():
            return forward(loaded, packs).cross_entropy, loaded.config.text_config.to_dict()

    (first, one), (second, other) = loss(export), loss(tmp_path / "hub")
    assert torch.equal(first, second)
    assert one["rope_parameters"] == other["rope_parameters"]
    # The control: a layer less, and the logits are others.
    body = json.loads((tmp_path / "hub" / "config.json").read_text())
    body["adapter_config"]["vit_layers"] = [-4, -4]
    (tmp_path / "hub" / "config.json").write_text(json.dumps(body))
    wrong = Molmo2ForConditionalGeneration.from_pretrained(tmp_path / "hub").eval()
    with torch.no_grad():
        assert not torch.equal(forward(wrong, packs).cross_entropy, first)


def test_nothing_is_converted_twice(export: Path) -> None:
    with pytest.raises(ConfigError, match="published keys already"):
        hub_config(hub_config(json.loads((export / "config.json").read_text())))


def test_scaled_positions_have_no_published_form(export: Path) -> None:
    config = json.loads((export / "config.json").read_text())
    config["text_config"]["rope_parameters"]["rope_type"] = "yarn"
    with pytest.raises(ConfigError, match="rope_parameters"):
        hub_config(config)

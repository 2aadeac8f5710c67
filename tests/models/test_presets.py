"""The sizes that the report prints, counted on the meta device."""

from __future__ import annotations

import pytest
import torch
from transformers import Molmo2ForConditionalGeneration

from trackyard.feed.geometry import VisionGeometry
from trackyard.models.molmo2 import build_config, parameter_counts
from trackyard.models.presets import PRESETS


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("nano", ("382.5", "19.5", "751.8")),
        ("4b", ("382.5", "56.6", "4411.8")),
        ("8b", ("382.5", "87.9", "8191.3")),
    ],
)
def test_parameters_per_component(name: str, millions: tuple[str, str, str]) -> None:
    preset = PRESETS[name]
    config = build_config(preset, VisionGeometry(), vocab_size=preset.vocab_size, max_positions=4096)
    with torch.device("meta"):
        counts = parameter_counts(Molmo2ForConditionalGeneration(config))
    assert tuple(f"{counts[part] / 1e6:.1f}" for part in ("vit", "connector", "llm")) == millions  # type: ignore[index]


def test_every_preset_divides_into_heads() -> None:
    for name, preset in PRESETS.items():
        assert preset.heads % preset.kv_heads == 0, name
        assert preset.vit_hidden % preset.vit_heads == 0, name
        assert max(preset.vit_feature_layers) == preset.vit_layers - 1, "a deeper layer would have no gradient"

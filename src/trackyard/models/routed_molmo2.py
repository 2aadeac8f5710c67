"""A Molmo2 whose decoder blocks send each token to a few of many experts: both halves are transformers' own.

The stock Molmo2 keeps its vision tower, connector, attention and norms; the dense network of each decoder block is
OLMoE's sparse block. MolmoE-1B, which the nine-dataset evaluation was first written for, is of this kind: a Molmo over
OLMoE. Source: nine-datasets spec section 5 (knob `experts`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import nn
from transformers import Molmo2Config, Molmo2ForConditionalGeneration, OlmoeConfig
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock

from trackyard.errors import DataError
from trackyard.feed.geometry import VisionGeometry
from trackyard.models.molmo2 import build_config
from trackyard.models.presets import Preset
from trackyard.parameters import Parameters, parse_parameters

ROUTED = "trackyard_routed"
"""Key of config.json with the experts; no other Molmo2 has it."""


class Experts(Parameters):
    """The sparse block of every decoder block."""

    experts: int = Field(ge=1)
    per_token: int = Field(ge=1)
    """Experts that a token is sent to, where nothing else is asked for."""
    width: int = Field(ge=1)
    """Hidden width of one expert."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.per_token > self.experts:
            raise ValueError(f"per_token={self.per_token} of experts={self.experts}: a token takes an expert once")
        return self


class RoutedMolmo2(Molmo2ForConditionalGeneration):
    """The stock class with sparse blocks in its decoder; its configuration carries `ROUTED`."""

    def __init__(self, config: Molmo2Config) -> None:
        super().__init__(config)
        blocks = sparse_config(config)
        for layer in self.model.language_model.layers:
            layer.mlp = OlmoeSparseMoeBlock(blocks)


def sparse_config(config: Molmo2Config) -> OlmoeConfig:
    """What OLMoE's block reads, from the configuration of a routed Molmo2. ConfigError for experts that are none."""
    experts = parse_parameters(Experts, getattr(config, ROUTED), where=f"config.json: {ROUTED}")
    text = config.text_config
    blocks = OlmoeConfig(
        hidden_size=text.hidden_size,
        intermediate_size=experts.width,
        num_experts=experts.experts,
        num_experts_per_tok=experts.per_token,
        hidden_act=text.hidden_act,
    )
    # Tokens sorted by expert, and what a token got summed in the order of its router: least depends on who else is in
    # the batch, and it is the fastest here for one token and for many.
    blocks._experts_implementation = "grouped_mm"
    return blocks


def make_routed(
    preset: Preset, experts: Experts, geometry: VisionGeometry, *, max_positions: int, seed: int
) -> RoutedMolmo2:
    """Random fp32 weights that depend on `seed` only. The preset's `ffn` is the connector's alone."""
    config = build_config(preset, geometry, vocab_size=preset.vocab_size, max_positions=max_positions)
    setattr(config, ROUTED, experts.model_dump(mode="json"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = RoutedMolmo2(config)
        nn.init.normal_(model.model.vision_tower.positional_embedding, std=preset.position_std)
        for layer in model.model.language_model.layers:
            _randomise(layer.mlp, experts, preset.initial_std[2])
    return model


def _randomise(block: Any, experts: Experts, std: float) -> None:
    """OLMoE gives only its own models random weights.

    An untrained router gives each of the E experts a weight of about 1/E, so that k of them together say about
    sqrt(k)/E of what one says: too little for anything to be learned there before attention has learned it.
    """
    nn.init.normal_(block.gate.weight, std=std)
    nn.init.normal_(block.experts.gate_up_proj, std=std)
    nn.init.normal_(block.experts.down_proj, std=std * experts.experts / experts.per_token**0.5)


def load_routed(folder: str | Path, *, max_positions: int) -> RoutedMolmo2:
    """A routed Molmo2 from its folder, in fp32; `max_position_embeddings` is raised to `max_positions`.

    Every weight of the class must be in the files and every weight in the files must have a place (DataError).
    """
    config = Molmo2Config.from_pretrained(folder)
    if not hasattr(config, ROUTED):
        raise DataError(
            what=f"config.json of {folder} names no experts ({ROUTED})",
            why="it is a Molmo2 with dense blocks, or another model",
            fix="load it as what it is (models.molmo2.load_molmo2), or name the folder of a routed one",
        )
    config.text_config.max_position_embeddings = max(config.text_config.max_position_embeddings, max_positions)
    model: RoutedMolmo2
    model, report = RoutedMolmo2.from_pretrained(
        folder, config=config, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    wrong = {kind: sorted(names) for kind, names in report.items() if names}
    if wrong:
        raise DataError(
            what=f"{folder} does not hold exactly the weights of its routed Molmo2: {wrong}",
            why="an expert that is missing would stay random, silently",
            fix="make the folder again, or copy it again from where it is whole",
        )
    return model

"""Build transformers' own Molmo2: from random weights, from a language model and a vision tower, or from an export.

Nothing of the model is written here. Source: molmo2 spec section 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Molmo2Config, Molmo2ForConditionalGeneration

from trackyard.errors import ConfigError, DataError
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.tokens import TokenTable
from trackyard.models.molmo2_parameters import ADDED_ROWS, COMPONENTS, Component
from trackyard.models.presets import PRESETS, Preset, PresetName


def component_of(parameter: str) -> Component:
    """Component that owns a parameter of the stock class, by its name (ValueError for an unknown module)."""
    if parameter.startswith("model.vision_tower."):
        return "vit"
    if parameter.startswith("model.multi_modal_projector."):
        return "connector"
    if parameter.startswith(("model.language_model.", "lm_head.")):
        return "llm"
    raise ValueError(f"{parameter} belongs to no component of Molmo2")


def parameter_counts(model: torch.nn.Module) -> dict[Component, int]:
    """Number of parameters per component."""
    counts: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
    for name, parameter in model.named_parameters():
        counts[component_of(name)] += parameter.numel()
    return counts


def build_config(preset: Preset, geometry: VisionGeometry, *, vocab_size: int, max_positions: int) -> Molmo2Config:
    """Configuration of a preset; the ids of added tokens follow `vocab_size`, as the tokenizer's do."""
    vit_std, connector_std, llm_std = preset.initial_std
    return Molmo2Config(
        vision_config={
            "hidden_size": preset.vit_hidden,
            "intermediate_size": preset.vit_ffn,
            "num_hidden_layers": preset.vit_layers,
            "num_attention_heads": preset.vit_heads,
            "num_key_value_heads": preset.vit_heads,
            "head_dim": preset.vit_hidden // preset.vit_heads,
            "image_size": [geometry.crop_size, geometry.crop_size],
            "patch_size": geometry.patch_size,
            "initializer_range": vit_std,
        },
        adapter_config={
            "vision_feature_layer": list(preset.vit_feature_layers),
            "hidden_size": preset.vit_hidden,
            "num_attention_heads": preset.vit_heads,
            "num_key_value_heads": preset.vit_heads,
            "head_dim": preset.vit_hidden // preset.vit_heads,
            "intermediate_size": preset.ffn,
            "text_hidden_size": preset.hidden_size,
            "initializer_range": connector_std,
        },
        text_config={
            "hidden_size": preset.hidden_size,
            "num_attention_heads": preset.heads,
            "num_key_value_heads": preset.kv_heads,
            "head_dim": preset.head_dim,
            "vocab_size": vocab_size,
            "additional_vocab_size": ADDED_ROWS,
            "num_hidden_layers": preset.layers,
            "intermediate_size": preset.ffn,
            "max_position_embeddings": max_positions,
            "rope_parameters": {"rope_type": "default", "rope_theta": preset.rope_theta},
            "initializer_range": llm_std,
            "qk_norm_type": preset.qk_norm,
            "norm_after": preset.norm_after,
        },
        initializer_range=llm_std,
        image_start_token_id=vocab_size,
        image_end_token_id=vocab_size + 1,
        image_patch_id=vocab_size + 2,
        low_res_image_start_token_id=vocab_size + 4,
        frame_start_token_id=vocab_size + 7,
        frame_end_token_id=vocab_size + 8,
    )


def random_model(preset: PresetName, geometry: VisionGeometry, *, max_positions: int, seed: int) -> torch.nn.Module:
    """A preset with random fp32 weights that depend on `seed` only."""
    shape = PRESETS[preset]
    config = build_config(shape, geometry, vocab_size=shape.vocab_size, max_positions=max_positions)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = Molmo2ForConditionalGeneration(config)
        torch.nn.init.normal_(model.model.vision_tower.positional_embedding, std=shape.position_std)
    return model  # type: ignore[no-any-return]


def load_molmo2(source: str | Path, *, max_positions: int, revision: str | None = None) -> torch.nn.Module:
    """A Molmo2 in the Hugging Face layout, in fp32; `max_position_embeddings` is raised to `max_positions`.

    Every weight of the class must be in the files and every weight in the files must have a place (DataError).
    """
    config = Molmo2Config.from_pretrained(source, revision=revision)
    config.text_config.max_position_embeddings = max(config.text_config.max_position_embeddings, max_positions)
    # Wrong shapes are let through so that the report names them, as it does what is missing.
    model, report = Molmo2ForConditionalGeneration.from_pretrained(
        source,
        config=config,
        revision=revision,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    wrong = {kind: sorted(names) for kind, names in report.items() if names}
    if wrong:
        raise DataError(
            what=f"{source} does not hold exactly the weights of Molmo2: {wrong}",
            why="a weight that is missing would stay random, silently",
            fix="export the earlier stage again (`dvc repro --force` of that stage), or download the model again",
        )
    return model  # type: ignore[no-any-return]


def check_fits(model: torch.nn.Module, tokens: TokenTable, geometry: VisionGeometry) -> None:
    """ConfigError unless the model, the tokenizer and the preprocessing agree on ids and on the patch grid."""
    config: Any = model.config
    wanted = {
        "vocab_size": (config.text_config.vocab_size, tokens.vocab_size),
        "image_start_token_id": (config.image_start_token_id, tokens.added("<im_start>")),
        "image_end_token_id": (config.image_end_token_id, tokens.added("<im_end>")),
        "image_patch_id": (config.image_patch_id, tokens.added("<im_patch>")),
        "low_res_image_start_token_id": (config.low_res_image_start_token_id, tokens.added("<low_res_im_start>")),
        "frame_start_token_id": (config.frame_start_token_id, tokens.added("<frame_start>")),
        "frame_end_token_id": (config.frame_end_token_id, tokens.added("<frame_end>")),
        "image_size": (tuple(config.vision_config.image_size), (geometry.crop_size, geometry.crop_size)),
        "patch_size": (config.vision_config.patch_size, geometry.patch_size),
    }
    wrong = [f"{name}: model {have}, data {need}" for name, (have, need) in wanted.items() if have != need]
    if wrong:
        raise ConfigError(
            what="the model and the preprocessing disagree: " + "; ".join(wrong),
            why="placeholders would meet other features than their own, without an error",
            fix="make molmo2.geometry and molmo2.model of params.yaml describe the model that is loaded",
        )

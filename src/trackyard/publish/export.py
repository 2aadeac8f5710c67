"""Export in the Hugging Face layout: what the stock class loads without this project.

Source: molmo2 spec section 15.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.core_model_loading import revert_weight_conversion

from trackyard.durable import write_atomic
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.tokens import TokenTable

PREPROCESSING = "trackyard_preprocessing.json"
"""How rows became tokens in training, for trackyard's own chaining and evaluation."""


def image_processor_config(geometry: VisionGeometry) -> dict[str, Any]:
    """`preprocessor_config.json` of the stock image processor."""
    return {
        "image_processor_type": "Molmo2ImageProcessor",
        "processor_class": "Molmo2Processor",
        "size": {"height": geometry.crop_size, "width": geometry.crop_size},
        "patch_size": geometry.patch_size,
        "pooling_size": [geometry.image_pooling, geometry.image_pooling],
        "overlap_margins": list(geometry.margin),
        "max_crops": geometry.max_crops,
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
    }


def video_processor_config(geometry: VisionGeometry, video: VideoParameters) -> dict[str, Any]:
    """`video_preprocessor_config.json` of the stock video processor."""
    return {
        "video_processor_type": "Molmo2VideoProcessor",
        "processor_class": "Molmo2Processor",
        "size": {"height": geometry.crop_size, "width": geometry.crop_size},
        "patch_size": geometry.patch_size,
        "pooling_size": [geometry.video_pooling, geometry.video_pooling],
        "num_frames": video.max_frames,
        "max_fps": video.fps,
        "do_sample_frames": True,
        # Unset, the stock video processor would hand bytes instead of values to the model.
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
    }


PROCESSOR = {
    "processor_class": "Molmo2Processor",
    "image_use_col_tokens": True,
    # Unset, the stock processor would fall back to True and write a column token after each low-resolution row.
    "use_single_crop_col_tokens": False,
    "use_single_crop_start_token": True,
    "video_use_col_tokens": False,
    "use_frame_special_tokens": True,
}
"""`processor_config.json`."""


EMBEDDING, ADDED = "model.transformer.wte.embedding", "model.transformer.wte.new_embedding"
"""Published names of the two parts of the embedding table."""


def published_weights(model: Any) -> dict[str, torch.Tensor]:
    """Weights under their published names, the embedding table cut where the language model's vocabulary ends.

    The library by itself cuts the table in two halves: it reads them back, other readers of the format would not.
    """
    weights: dict[str, torch.Tensor] = revert_weight_conversion(model, model.state_dict())
    table = torch.cat([weights[EMBEDDING], weights[ADDED]])
    height = model.config.text_config.vocab_size
    return weights | {EMBEDDING: table[:height].clone(), ADDED: table[height:].clone()}


def write_export(
    directory: Path,
    model: torch.nn.Module,
    tokens: TokenTable,
    geometry: VisionGeometry,
    video: VideoParameters,
) -> None:
    """Write weights, configuration, tokenizer and preprocessing below `directory` (the caller makes it atomic)."""
    tokenizer = tokens.tokenizer
    tokenizer.padding_side = "left"
    model.generation_config = GenerationConfig(
        bos_token_id=tokens.bos, eos_token_id=tokens.eos, pad_token_id=tokens.pad
    )
    model.save_pretrained(  # type: ignore[operator]
        directory, state_dict=published_weights(model), save_original_format=False
    )
    tokenizer.save_pretrained(directory)
    for name, body in (
        ("preprocessor_config.json", image_processor_config(geometry)),
        ("video_preprocessor_config.json", video_processor_config(geometry, video)),
        ("processor_config.json", PROCESSOR),
        (PREPROCESSING, {"geometry": geometry.model_dump(mode="json"), "video": video.model_dump(mode="json")}),
    ):
        write_atomic(directory / name, json.dumps(body, indent=2) + "\n")

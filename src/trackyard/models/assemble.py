"""Put a language model and a vision tower together into Molmo2: the start of stage 1 at real size.

The connector and the embedding rows of added tokens are random; everything else is copied, and every copied tensor is
counted. Source: molmo2 spec section 1 ("Starting points").
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import AutoModelForCausalLM, Molmo2ForConditionalGeneration, SiglipVisionModel

from trackyard.errors import ConfigError
from trackyard.feed.geometry import VisionGeometry
from trackyard.models.molmo2 import build_config
from trackyard.models.presets import Preset


def _llm_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of a Qwen3 causal language model turned into Molmo2's; a tied head becomes a copy of the embedding."""
    tensors = {
        "model.language_model." + name.removeprefix("model."): tensor
        for name, tensor in state.items()
        if name.startswith("model.")
    }
    tensors["lm_head.weight"] = state.get("lm_head.weight", state["model.embed_tokens.weight"])
    return tensors


def _vision_tensors(state: Mapping[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """Names of a SigLIP vision tower turned into Molmo2's; layers at or above `layers` are never read and left out.

    The patch convolution [hidden, 3, p, p] becomes a linear layer over channel-last patches [hidden, p * p * 3].
    """
    tensors: dict[str, torch.Tensor] = {}
    for full_name, tensor in state.items():
        name = full_name.removeprefix("vision_model.")
        if name == "embeddings.patch_embedding.weight":
            tensors["model.vision_tower.patch_embedding.weight"] = tensor.permute(0, 2, 3, 1).flatten(1)
        elif name == "embeddings.patch_embedding.bias":
            tensors["model.vision_tower.patch_embedding.bias"] = tensor
        elif name == "embeddings.position_embedding.weight":
            tensors["model.vision_tower.positional_embedding"] = tensor
        elif name.startswith("encoder.layers.") and int(name.split(".")[2]) < layers:
            place = name.removeprefix("encoder.").replace("self_attn.out_proj", "self_attn.o_proj")
            tensors["model.vision_tower." + place] = tensor
    return tensors


def assemble(
    preset: Preset, geometry: VisionGeometry, *, llm: str, vision: str, max_positions: int, seed: int
) -> torch.nn.Module:
    """Molmo2 in fp32 with the weights of `llm` and `vision` (hub ids or folders).

    Raises ConfigError if a tensor of the tower or the language model has no source, or one of another shape.
    """
    language = AutoModelForCausalLM.from_pretrained(llm, dtype=torch.float32)
    tower = SiglipVisionModel.from_pretrained(vision, dtype=torch.float32)
    vocab_size = language.config.vocab_size
    config = build_config(preset, geometry, vocab_size=vocab_size, max_positions=max_positions)
    config.text_config.rope_parameters = dict(language.config.rope_parameters)
    config.text_config.rms_norm_eps = language.config.rms_norm_eps
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Molmo2ForConditionalGeneration(config)
    sources = _llm_tensors(language.state_dict()) | _vision_tensors(tower.state_dict(), preset.vit_layers)
    targets = dict(model.named_parameters())
    problems = []
    with torch.no_grad():
        for name, target in targets.items():
            if name.startswith("model.multi_modal_projector."):
                continue
            source = sources.pop(name, None)
            if source is None:
                problems.append(f"{name} has no source")
            elif name == "model.language_model.embed_tokens.weight":
                target[:vocab_size].copy_(source)
            elif source.shape != target.shape:
                problems.append(f"{name}: {tuple(source.shape)} into {tuple(target.shape)}")
            else:
                target.copy_(source)
    problems += [f"{name} has no place" for name in sources]
    if problems:
        raise ConfigError(
            what=f"{llm} and {vision} do not make this Molmo2: " + "; ".join(problems[:8]),
            why="a tensor without a source would stay random, silently",
            fix="choose the preset that belongs to these models (molmo2.model.preset in params.yaml)",
        )
    return model  # type: ignore[no-any-return]

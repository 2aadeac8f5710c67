"""Put a language model and a vision tower together into Molmo2: the start of stage 1 at real size.

The connector and the embedding rows of added tokens are random; everything else is copied, and every copied tensor is
counted. Source: molmo2 spec section 1 ("Starting points").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Molmo2ForConditionalGeneration, SiglipVisionModel

from trackyard.errors import ConfigError
from trackyard.feed.geometry import VisionGeometry
from trackyard.models.molmo2 import build_config
from trackyard.models.presets import Preset

EMBEDDING = "model.language_model.embed_tokens.weight"
UNREAD_VISION = ("post_layernorm.", "head.")
"""Parts of a SigLIP tower behind its last layer, which Molmo2 never reads."""


def _llm_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of a Qwen3 causal language model turned into Molmo2's; a tied head is a tensor of its own here."""
    return {
        "model.language_model." + name.removeprefix("model.") if name.startswith("model.") else name: tensor
        for name, tensor in state.items()
    }


def _vision_tensors(state: Mapping[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """Names of a SigLIP vision tower turned into Molmo2's; layers at or above `layers` are never read and left out.

    The patch convolution [hidden, 3, p, p] becomes a linear layer over channel-last patches [hidden, p * p * 3].
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name == "embeddings.patch_embedding.weight":
            tensors["model.vision_tower.patch_embedding.weight"] = tensor.permute(0, 2, 3, 1).flatten(1)
        elif name == "embeddings.patch_embedding.bias":
            tensors["model.vision_tower.patch_embedding.bias"] = tensor
        elif name == "embeddings.position_embedding.weight":
            tensors["model.vision_tower.positional_embedding"] = tensor
        elif name.startswith("encoder.layers."):
            if int(name.split(".")[2]) < layers:
                place = name.removeprefix("encoder.").replace("self_attn.out_proj", "self_attn.o_proj")
                tensors["model.vision_tower." + place] = tensor
        elif not name.startswith(UNREAD_VISION):
            tensors["model.vision_tower." + name] = tensor
    return tensors


def _loaded(cls: Any, source: str) -> tuple[Any, list[str]]:
    """A source model in fp32, and what its files lack: transformers would leave that random with a mere warning."""
    model, report = cls.from_pretrained(
        source, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
    )
    problems = [f"{name} is missing in {source}" for name in sorted(report["missing_keys"])]
    problems += [f"{name} in {source} has the shape {found}" for name, found, _ in sorted(report["mismatched_keys"])]
    return model, problems


def assemble(
    preset: Preset, geometry: VisionGeometry, *, llm: str, vision: str, max_positions: int, seed: int
) -> torch.nn.Module:
    """Molmo2 in fp32 with the weights of `llm` and `vision` (hub ids or folders).

    Raises ConfigError if a tensor of the tower or the language model has no source, or one of another shape.
    """
    language, problems = _loaded(AutoModelForCausalLM, llm)
    tower, lacking = _loaded(SiglipVisionModel, vision)
    problems += lacking
    vocab_size = language.config.vocab_size
    config = build_config(preset, geometry, vocab_size=vocab_size, max_positions=max_positions)
    config.text_config.rope_parameters = dict(language.config.rope_parameters)
    config.text_config.rms_norm_eps = language.config.rms_norm_eps
    config.vision_config.layer_norm_eps = tower.config.layer_norm_eps
    if tower.config.num_attention_heads != preset.vit_heads:
        # Other heads have the same shapes.
        problems.append(f"{vision} has {tower.config.num_attention_heads} heads, the preset {preset.vit_heads}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Molmo2ForConditionalGeneration(config)
    sources = _llm_tensors(language.state_dict()) | _vision_tensors(tower.state_dict(), preset.vit_layers)
    targets = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in targets.items():
            if name.startswith("model.multi_modal_projector."):
                continue
            # The rows of added tokens stay random.
            target = parameter[:vocab_size] if name == EMBEDDING else parameter
            source = sources.pop(name, None)
            if source is None:
                problems.append(f"{name} has no source")
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

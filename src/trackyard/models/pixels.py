"""From uint8 patches to the embeddings that the language model reads, without asking the device for anything.

The stock classes wait for the device several times on this way (how many windows are valid, where the placeholders are,
how long each picture is), although the host knows all of it. The modules called here are the stock ones, in the stock
order; results are equal bit for bit. Source: molmo2 spec sections 1 and 5, performance section 6.

Shapes: C visual inputs of P patches; M pooled features of W patches each; N packs of L tokens; D hidden size.
"""

from __future__ import annotations

from typing import Any

import torch

from trackyard.errors import ConfigError


def normalise_patches(patches: torch.Tensor) -> torch.Tensor:
    """uint8 pixel values as float32 in [-1, 1]: (x - 127.5) / 127.5, the stock processor's (x / 255 - 0.5) / 0.5."""
    if patches.dtype != torch.uint8:
        raise TypeError(f"patches are {patches.dtype}, uint8 is wanted: they would be normalised twice")
    # A plain number would be turned into a product with its reciprocal on a GPU, which rounds otherwise.
    half = torch.full((1,), 127.5, device=patches.device)
    return (patches.float() - half) / half


def visual_features(model: torch.nn.Module, patches_CPX: torch.Tensor, pooling_MW: torch.Tensor) -> torch.Tensor:
    """Features [M, D] of uint8 patches, as the stock `get_image_features`; each window has at least one patch.

    pooling_MW: int64, indices into the flattened patches, -1 = empty.
    """
    core: Any = model.model
    config = core.config.adapter_config
    if config._attn_implementation != "sdpa":
        raise ConfigError(
            what=f"the model's connector uses attention {config._attn_implementation!r}",
            why="only sdpa takes the boolean mask of empty places in a pooling window",
            fix="load the model with attn_implementation sdpa; trackyard sets the text layers alone to another one",
        )
    states = core.vision_tower(normalise_patches(patches_CPX), output_hidden_states=True).hidden_states
    layers = [states[layer + 1 if layer >= 0 else layer] for layer in config.vision_feature_layer]
    flat = torch.cat(layers, dim=-1).flatten(0, 1)
    valid_MW = pooling_MW >= 0
    windows = flat[pooling_MW.clamp(min=0)] * valid_MW.to(flat.dtype)[..., None]
    sizes = valid_MW.float().sum(-1)[:, None, None].to(flat.dtype)
    connector = core.multi_modal_projector
    query = windows.sum(-2, keepdim=True) / sizes
    pooled, _ = connector.image_pooling_2d(query, windows, attention_mask=valid_MW[:, None, None])
    features: torch.Tensor = connector.image_projector(pooled.squeeze(1))
    return features


def embed(
    model: torch.nn.Module, input_ids: torch.Tensor, features_MD: torch.Tensor, places_M: torch.Tensor
) -> torch.Tensor:
    """Token embeddings [N, L, D] with each feature added at its placeholder.

    places_M: int64, where the placeholders lie in the flattened [N * L], in rising order.
    """
    embeddings: torch.Tensor = model.get_input_embeddings()(input_ids)  # type: ignore[operator]
    return embeddings.flatten(0, 1).index_add(0, places_M, features_MD).view_as(embeddings)

"""An export under the configuration keys of the published checkpoints, for engines that were written against those.

Weights have their published names in every export; here `config.json` gets the published keys as well. The stock class
reads both. Source: molmo2 spec section 15.
"""

from __future__ import annotations

from typing import Any

from trackyard.errors import ConfigError

CONFIG = "config.json"
UNREAD_LAYERS = 2
"""Layers of the vision tower above the deepest that is read: declared by the published files, not in their weights."""


def hub_config(config: dict[str, Any]) -> dict[str, Any]:
    """The published form of a `config.json` in current keys. ConfigError if it has no published form."""
    if "vit_config" in config:
        raise ConfigError(
            what="config.json has published keys already",
            why="writing them a second time would lose what they say",
            fix="use the folder as it is: what the stage puts out has current keys",
        )
    vision, adapter, text = (dict(config[name]) for name in ("vision_config", "adapter_config", "text_config"))
    depth = vision["num_hidden_layers"] + UNREAD_LAYERS
    for published, current in (
        ("image_default_input_size", "image_size"),
        ("image_patch_size", "patch_size"),
        ("image_num_pos", "num_position_embeddings"),
    ):
        vision[published] = vision.pop(current)
    vision["num_hidden_layers"] = depth
    adapter["vit_layers"] = [layer - depth for layer in adapter.pop("vision_feature_layer")]
    rope = text.pop("rope_parameters")
    if rope["rope_type"] != "default":
        raise ConfigError(
            what=f"rope_parameters {rope}",
            why="the published keys state one base and no scaling",
            fix="export in the current layout: trackyard publish export molmo2/STAGE OUT, without --layout hub",
        )
    text |= {"rope_theta": rope["rope_theta"], "use_qk_norm": True}
    for published, current in (("qkv_bias", "attention_bias"), ("layer_norm_eps", "rms_norm_eps")):
        text[published] = text.pop(current)
    rest = {name: value for name, value in config.items() if name != "vision_config"}
    return rest | {"vit_config": vision, "adapter_config": adapter, "text_config": text}

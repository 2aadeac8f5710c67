"""Folders of tiny VAEs of both classes, random weights, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from trackyard.models.world_encoders.folder import facts_of
from trackyard.snapshot.latent_facts import EncoderFacts

WAN: dict[str, Any] = {
    "base_dim": 4,
    "z_dim": 16,
    "dim_mult": [1, 2, 2, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}
COSMOS: dict[str, Any] = {
    "latent_channels": 16,
    "encoder_block_out_channels": [8, 8, 16, 16],
    "decode_block_out_channels": [8, 8, 16, 16],
    "attention_resolutions": [8],
    "resolution": 32,
    "num_layers": 1,
}


def random_vae(folder: Path, name: str) -> Any:
    """Write a VAE of class `name` to `folder`, statistics of its class, and return the model."""
    import diffusers

    torch.manual_seed(0)
    model = getattr(diffusers, name)(**(WAN if name == "AutoencoderKLWan" else COSMOS)).eval()
    model.save_pretrained(folder)
    return model


def facts(folder: Path, size: int = 32, *, preprocessing: str = "test/1") -> EncoderFacts:
    return facts_of(folder, repo="some/repo", revision="a" * 40, size=size, preprocessing=preprocessing)


def edit_config(folder: Path, **changes: Any) -> None:
    """Change keys of config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

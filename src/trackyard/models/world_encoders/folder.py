"""The folder of a VAE as diffusers writes it: which class, which facts, which tensors. Nothing is computed here.

Source: theworld spec sections 2 and 8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from trackyard.digest import digest_file, digest_json
from trackyard.errors import ConfigError, DataError
from trackyard.models.world_encoders.cosmos import CosmosPlugin
from trackyard.models.world_encoders.plugin import VaePlugin
from trackyard.models.world_encoders.wan import WanPlugin
from trackyard.snapshot.latent_facts import EncoderFacts

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
PLUGINS: dict[str, type[VaePlugin]] = {plugin.class_name: plugin for plugin in (WanPlugin, CosmosPlugin)}
RESTORE = "trackyard run datacomp models"
"""Brings the folder again."""


def plugin_of(folder: Path) -> VaePlugin:
    """The plug-in that `_class_name` asks for. DataError without a config, ConfigError for a class that is none."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            what=f"{path} cannot be read: {error}",
            why="it says which class the encoder is, and how its latents are normalised",
            fix=RESTORE,
        ) from error
    name = config.get("_class_name") if isinstance(config, dict) else None
    if name not in PLUGINS:
        raise ConfigError(
            what=f"{path} is of class {name!r}",
            why=f"encoders are {', '.join(PLUGINS)}; another class would load none of these weights, or wrong ones",
            fix="set datacomp.vae to the vae folder of a Cosmos or Wan model",
        )
    return PLUGINS[name](config)


def facts_of(folder: Path, *, repo: str, revision: str, size: int, preprocessing: str) -> EncoderFacts:
    """What decides the latents of `folder`, from its files; every byte of the weights is read once.

    size: pixels of the square input. preprocessing: version of what makes that input, without its size.
    ConfigError for a size that is no multiple of the encoder's factor.
    """
    plugin = plugin_of(folder)
    side, rest = divmod(size, plugin.factor)
    if rest or not side:
        raise ConfigError(
            what=f"an input of {size} x {size} pixels",
            why=f"a position of {plugin.class_name}'s latents is of {plugin.factor} x {plugin.factor} pixels",
            fix=f"set datacomp.vae.size to a multiple of {plugin.factor}",
        )
    low, high = plugin.value_range
    return EncoderFacts(
        repo=repo,
        revision=revision,
        weights=_digest(folder / WEIGHTS),
        config=digest_json(plugin.config),
        preprocessing=f"{preprocessing} to {size}x{size} in [{low:g}, {high:g}]",
        shape=(plugin.channels, side, side),
    )


def counts_of(model: Any) -> dict[str, int]:
    """Parameters by part: encoder, quant_conv, decoder, post_quant_conv. The model may lie on the meta device."""
    return {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}


def load_parts(folder: Path, plugin: VaePlugin, parts: Iterable[str], device: torch.device) -> Any:
    """The model with only these children, in fp32, frozen. DataError if names or shapes of weights do not match."""
    wanted = set(parts)
    model = plugin.build()
    for name in [name for name, _ in model.named_children() if name not in wanted]:
        delattr(model, name)
    state = _tensors(folder / WEIGHTS, wanted, device)
    _require_same(model.state_dict(), state, folder)
    model.load_state_dict(state, assign=True)
    model.to(device)
    model.requires_grad_(False)
    model.eval()
    plugin.prepare(model)
    return model


def _tensors(path: Path, parts: set[str], device: torch.device) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            names = [name for name in file.keys() if name.split(".")[0] in parts]  # noqa: SIM118
            return {name: file.get_tensor(name).float() for name in names}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        what=f"{path} cannot be read: {error}",
        why="weights come as safetensors or not at all: other forms can run code when they are read",
        fix=RESTORE,
    )


def _require_same(wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], folder: Path) -> None:
    wrong = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    wrong += [f"{name} is not of the model" for name in found.keys() - wanted.keys()]
    wrong += [
        f"{name} has shape {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted.keys() & found.keys()
        if wanted[name].shape != found[name].shape
    ]
    if wrong:
        raise DataError(
            what=f"{folder}: {len(wrong)} weights do not match {CONFIG}: {'; '.join(sorted(wrong)[:5])}",
            why="an encoder that is partly random still gives latents",
            fix=RESTORE,
        )

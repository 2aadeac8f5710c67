"""What differs from one VAE class to another: a plug-in declares it, and nothing else knows the class.

Source: theworld spec sections 2 and 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import torch

from trackyard.errors import ConfigError

ENCODING, DECODING = ("encoder", "quant_conv"), ("decoder", "post_quant_conv")
"""Children of diffusers' VAE classes that each direction needs."""


class VaePlugin(ABC):
    """A VAE class of diffusers. config: of its folder, as it is written there: defaults of the class do not count.

    ConfigError for a config without statistics, or with others than one for each channel.
    """

    class_name: ClassVar[str]
    module: ClassVar[str]
    """Of diffusers, where that class is."""
    value_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.mean = self._statistics("latents_mean")
        self.std = self._statistics("latents_std")
        if min(self.std) <= 0:
            raise ConfigError(
                what=f"latents_std of {self.class_name} holds {min(self.std)}",
                why="latents are divided by it",
                fix="bring the folder of the encoder again; its config.json holds one number above 0 for each channel",
            )

    @property
    @abstractmethod
    def channels(self) -> int:
        """Of a latent."""

    @property
    @abstractmethod
    def factor(self) -> int:
        """Pixels per position of a latent, along each side."""

    @abstractmethod
    def build(self) -> Any:
        """The model with weights still to be loaded, all of them; on the meta device where that loses nothing."""

    def vae_class(self) -> Any:
        """The stock class. To be called before `torch.device("meta")` begins: tensors that the module makes when it is
        imported would be on that device for as long as the process lives."""
        return getattr(import_module(self.module), self.class_name)

    def made(self) -> Any:
        """The model of this config, with weights that are to be replaced."""
        return self.vae_class().from_config(dict(self.config))

    def prepare(self, half: Any) -> None:
        """Change a half with loaded weights so that single frames cost less, and come out the same."""
        del half

    def encoded(self, model: Any, x: torch.Tensor) -> torch.Tensor:
        """Mode of the distribution [B, C, 1, h, w] for x [B, 3, 1, H, W] in `value_range`."""
        mode: torch.Tensor = model.encode(x).latent_dist.mode()
        return mode

    def decoded(self, model: Any, z: torch.Tensor) -> torch.Tensor:
        """x [B, 3, 1, H, W] for latents [B, C, 1, h, w] before normalisation."""
        sample: torch.Tensor = model.decode(z).sample
        return sample

    def per_channel(self, numbers: list[float]) -> list[float]:
        """Statistics of a single frame out of those in the config."""
        return numbers

    def _statistics(self, name: str) -> tuple[float, ...]:
        stated = self.config.get(name)
        found = self.per_channel([float(number) for number in stated]) if isinstance(stated, list | tuple) else []
        if len(found) != self.channels:
            raise ConfigError(
                what=f"{name} of {self.class_name} is {'missing' if not stated else f'for {len(found)} channels'}, its "
                f"latents have {self.channels}",
                why="latents that are not normalised reach the projector at another scale in every channel",
                fix="bring the folder of the encoder again; a published config.json holds them",
            )
        return tuple(found)

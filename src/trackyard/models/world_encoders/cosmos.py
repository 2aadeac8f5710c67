"""Plug-in for AutoencoderKLCosmos: the continuous tokenizer of Cosmos 1.0. Source: theworld spec section 2."""

from __future__ import annotations

from typing import Any

from trackyard.models.world_encoders.plugin import VaePlugin


class CosmosPlugin(VaePlugin):
    class_name = "AutoencoderKLCosmos"
    module = "diffusers.models.autoencoders.autoencoder_kl_cosmos"

    @property
    def channels(self) -> int:
        return int(self.config.get("latent_channels", 16))

    @property
    def factor(self) -> int:
        return int(self.config.get("spatial_compression_ratio", 8))

    def build(self) -> Any:
        # Not on the meta device: its wavelets are buffers that files of weights do not hold.
        return self.made()

    def per_channel(self, numbers: list[float]) -> list[float]:
        # Channel by channel one number for each latent frame; a picture is the first frame.
        frames = len(numbers) // self.channels
        return numbers[::frames] if frames and frames * self.channels == len(numbers) else numbers

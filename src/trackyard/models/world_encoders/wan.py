"""Plug-in for AutoencoderKLWan: the VAE of Wan and of Cosmos Predict2. Source: theworld spec section 2."""

from __future__ import annotations

from typing import Any

import torch

from trackyard.models.world_encoders.plugin import VaePlugin

TEMPORAL = "time_conv"
"""Convolutions between frames, which a single one never meets."""


class WanPlugin(VaePlugin):
    class_name = "AutoencoderKLWan"
    module = "diffusers.models.autoencoders.autoencoder_kl_wan"

    @property
    def channels(self) -> int:
        return int(self.config.get("z_dim", 16))

    @property
    def factor(self) -> int:
        blocks = len(self.config.get("dim_mult", (1, 2, 4, 4)))
        halvings: int = 2 ** (blocks - 1)
        return int(self.config.get("patch_size") or 1) * halvings

    def build(self) -> Any:
        self.vae_class()
        # It has no buffers that a file of weights would not hold.
        with torch.device("meta"):
            return self.made()

    def prepare(self, half: Any) -> None:
        fold_single_frames(half)


@torch.no_grad()
def fold_single_frames(model: torch.nn.Module) -> None:
    """Leave of every causal convolution what a single frame meets: its last step in time.

    The frames before it are zeros, so that two thirds of the products are with zeros.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    for name, module in model.named_modules():
        if not isinstance(module, WanCausalConv3d) or module.kernel_size[0] == 1 or name.endswith(TEMPORAL):
            continue
        module.weight = torch.nn.Parameter(module.weight[:, :, -1:].contiguous(), requires_grad=False)
        module._padding = (*module._padding[:4], 0, 0)
        module.kernel_size = (1, *module.kernel_size[1:])

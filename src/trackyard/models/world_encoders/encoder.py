"""The world encoder: pictures in, normalised latents out, with the assertions that published code lacked.

    encoder = WorldEncoder.open(folder, facts)
    latents = encoder.encode(pixels)             # uint8 [N, H, W, 3] -> float32 [N, C, h, w]

Source: theworld spec section 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.models.world_encoders.folder import load_parts, plugin_of
from trackyard.models.world_encoders.plugin import DECODING, ENCODING, VaePlugin
from trackyard.snapshot.latent_facts import EncoderFacts

Pixels = NDArray[np.uint8]
WATCHED = 64
"""Images over which the range of inputs is judged."""
SPREAD = 0.5
"""Of so many images at least one pixel lies below -0.5 and one above 0.5; none does below in [0, 1]."""


class InputRangeError(DataError):
    """Inputs are not in the range that the encoder was trained on."""


class RangeWatch:
    """Values of the first images: each must lie in the range, and together they must fill it."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.images, self.least, self.largest = 0, float("inf"), float("-inf")

    def see(self, x: torch.Tensor) -> None:
        """x: [B, ...]. InputRangeError for a value outside, and after `WATCHED` images for values in a part of it."""
        least, largest = float(x.min()), float(x.max())
        if not (self.low <= least and largest <= self.high):
            raise self._wrong(f"inputs reach from {least:g} to {largest:g}", "the encoder answers, with noise")
        if self.images < WATCHED:
            self.images += len(x)
            self.least, self.largest = min(self.least, least), max(self.largest, largest)
            if self.images >= WATCHED and not (self.least < -SPREAD and self.largest > SPREAD):
                raise self._wrong(
                    f"inputs of {self.images} images reach from {self.least:g} to {self.largest:g}",
                    f"so many pictures have a pixel below {-SPREAD} and one above {SPREAD}; in [0, 1] none is below 0",
                )

    def _wrong(self, what: str, why: str) -> InputRangeError:
        return InputRangeError(
            what=f"{what}, expected [{self.low:g}, {self.high:g}]",
            why=why,
            fix="give uint8 pixels to `encode`, which scales them, or look at the pictures if they are all of one tone",
        )


class WorldEncoder:
    """The encoding half of a VAE, in fp32 on one device, without gradients. Open with `WorldEncoder.open`."""

    def __init__(self, folder: Path, facts: EncoderFacts, plugin: VaePlugin, device: torch.device) -> None:
        self.folder, self.facts, self.plugin, self.device = folder, facts, plugin, device
        self.watch = RangeWatch(*plugin.value_range)
        self._model: Any = load_parts(folder, plugin, ENCODING, device)
        self._mean, self._std = _statistics(plugin, device)

    @classmethod
    def open(cls, folder: Path, facts: EncoderFacts, *, device: torch.device | str = "cpu") -> WorldEncoder:
        """Of a folder and what `folder.facts_of` says of it. DataError or ConfigError if it cannot be loaded."""
        return cls(folder, facts, plugin_of(folder), torch.device(device))

    @property
    def size(self) -> int:
        """Pixels of the square input."""
        return self.facts.shape[1] * self.plugin.factor

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        """Normalised latents float32 [N, C, h, w] of pictures uint8 [N, H, W, 3] of `size`.

        ValueError for another type or size, InputRangeError as `RangeWatch`.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (self.size, self.size, 3):
            raise ValueError(f"{pixels.dtype} {pixels.shape}, expected uint8 [N, {self.size}, {self.size}, 3]")
        return self.encode_values(self.values(pixels)).cpu().numpy()

    def values(self, pixels: Pixels) -> torch.Tensor:
        """x = low + (high - low) u / 255 of bytes u, float32 [N, 3, H, W] on the device."""
        low, high = self.plugin.value_range
        planes = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).permute(0, 3, 1, 2)
        return (planes.float() * ((high - low) / 255) + low).clamp(low, high)

    @torch.no_grad()
    def encode_values(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised latents [N, C, h, w] of x [N, 3, H, W] in the encoder's range. InputRangeError if it is not."""
        self.watch.see(x)
        # 19-bit products would differ from batch size to batch size by more than 16-bit storage does.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            z = self.plugin.encoded(self._model, x[:, :, None])[:, :, 0]
        return (z - self._mean) / self._std

    def decoder(self) -> WorldDecoder:
        """The other half, loaded now, for the test of reconstruction."""
        return WorldDecoder(self.folder, self.plugin, self.device)


class WorldDecoder:
    """The decoding half of a VAE."""

    def __init__(self, folder: Path, plugin: VaePlugin, device: torch.device) -> None:
        self.plugin, self.device = plugin, device
        self._model: Any = load_parts(folder, plugin, DECODING, device)
        self._mean, self._std = _statistics(plugin, device)

    @torch.no_grad()
    def decode(self, latents: NDArray[np.float32]) -> Pixels:
        """Pictures uint8 [N, H, W, 3] of normalised latents [N, C, h, w]."""
        z = torch.from_numpy(latents).to(self.device) * self._std + self._mean
        low, high = self.plugin.value_range
        x = self.plugin.decoded(self._model, z[:, :, None])[:, :, 0].clamp(low, high)
        bytes_NHWC = ((x - low) * (255 / (high - low))).round().permute(0, 2, 3, 1).to(torch.uint8)
        return np.ascontiguousarray(bytes_NHWC.cpu().numpy())


def _statistics(plugin: VaePlugin, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [C, 1, 1] of latents."""
    mean, std = (torch.tensor(numbers, device=device)[:, None, None] for numbers in (plugin.mean, plugin.std))
    return mean, std

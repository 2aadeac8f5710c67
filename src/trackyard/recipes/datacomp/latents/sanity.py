"""What proves that latents are what they should be; each failure has a name. Source: theworld spec sections 3 and 8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import DataError
from trackyard.models.world_encoders.encoder import Pixels, WorldDecoder, WorldEncoder

RECONSTRUCTED = 3
"""Pictures that are encoded and decoded."""
MEASURED = 256
"""Latents whose statistics are taken, at most."""
LARGEST_MEAN, STD_BAND = 2.0, (0.2, 3.0)
"""Of a channel of normalised latents."""
RECHECKED = 8
LARGEST_DIFFERENCE = 4e-3
"""Half a step of 16 bits is 0.002 below 8; the rest is for sums in another order. Larger values have larger steps."""
SUMS = 1e-3
"""Of larger values, what sums in another order may add to half a step."""


class ReconstructionError(DataError):
    """Pictures do not come back: range, weights or statistics are not those of the encoder."""


class LatentStatisticsError(DataError):
    """Latents are not normalised."""


class RecheckError(DataError):
    """An image's latent is another one when it is encoded again."""


def psnr(original: Pixels, again: Pixels) -> NDArray[np.float64]:
    """dB of each picture [N, H, W, 3], bytes of a range of 255; 100 for equal ones."""
    error = ((original.astype(np.float64) - again.astype(np.float64)) ** 2).mean(axis=(1, 2, 3))
    decibel: NDArray[np.float64] = 10 * np.log10(255**2 / np.maximum(error, 255**2 * 1e-10))
    return decibel


def check_reconstruction(encoder: WorldEncoder, decoder: WorldDecoder, pictures: Pixels, *, least: float) -> float:
    """Mean PSNR of decode(encode(pictures)), dB. ReconstructionError if that of one is below `least`."""
    found = psnr(pictures, decoder.decode(encoder.encode(pictures)))
    if found.min() < least:
        raise ReconstructionError(
            what=f"pictures come back at {', '.join(f'{one:.1f}' for one in found)} dB, {least:g} dB are the least",
            why="input range, weights or latents_mean and latents_std are not those that the encoder was trained with",
            fix="trackyard run datacomp models   (brings the encoder again); datacomp.vae.least_psnr is the bound",
        )
    return float(found.mean())


@dataclass(frozen=True, slots=True)
class Statistics:
    """mean, std: by channel, over images and positions."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def check_statistics(latents: NDArray[np.floating]) -> Statistics:
    """Of normalised latents [N, C, h, w]. LatentStatisticsError for a channel outside the bounds."""
    wide = latents.astype(np.float64)
    mean, std = wide.mean(axis=(0, 2, 3)), wide.std(axis=(0, 2, 3))
    low, high = STD_BAND
    wrong = [
        f"channel {channel}: mean {mean[channel]:.2f}, std {std[channel]:.2f}"
        for channel in np.flatnonzero((np.abs(mean) > LARGEST_MEAN) | (std < low) | (std > high))
    ]
    if wrong:
        raise LatentStatisticsError(
            what=f"{len(wrong)} of {len(mean)} channels over {len(latents)} images: {'; '.join(wrong[:4])}",
            why=f"of normalised latents the mean is within {LARGEST_MEAN:g} of 0 and the std in [{low:g}, {high:g}]; "
            "the projector's scale and learning rate rest on that",
            fix="compare latents_mean and latents_std in the encoder's config.json with the published ones, or look at "
            "the pictures: hundreds of nearly equal ones have no spread",
        )
    return Statistics(tuple(mean.tolist()), tuple(std.tolist()))


def check_again(stored: NDArray[np.float16], again: NDArray[np.float32]) -> float:
    """Largest difference between stored latents and those of the same images now. RecheckError above the bound."""
    differences = np.abs(stored.astype(np.float32) - again)
    allowed = np.maximum(LARGEST_DIFFERENCE, np.spacing(np.abs(stored)).astype(np.float32) / 2 + SUMS)
    difference = float(differences.max())
    if not (differences <= allowed).all():
        raise RecheckError(
            what=f"latents of {len(stored)} images encoded again differ by up to {difference:.2g}",
            why=f"16 bits account for {LARGEST_DIFFERENCE:g} below 8: the encoder draws, or was changed meanwhile",
            fix="rm -r the directory of latents, then: trackyard run datacomp latents",
        )
    return difference

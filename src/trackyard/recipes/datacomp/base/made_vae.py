"""A tiny Wan VAE of the project's own: principal components of 8 x 8 patches, as weights of the stock class.

Balls on plain ground are nearly linear in 16 numbers per patch, so nothing needs to be trained: 30 dB in a second, and
the same for the same pictures. The network computes the linear map exactly:

* residual and attention branches end in zeros, so that what comes in goes out;
* its norms divide by the length of a vector. A channel of the constant `ANCHOR`, far longer than all others, makes that
  length the same everywhere, and the next convolution multiplies by it;
* silu(a) - silu(-a) = a, so every component goes through the activation with both signs.

Source: theworld spec sections 2, 3 and 15 (check 22).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trackyard.errors import ConfigError

Pixels = NDArray[np.uint8]
PATCH, CHANNELS, WIDTH = 8, 16, 40
"""Pixels of a patch's side; components; channels inside, at least 2 CHANNELS + 1."""
ANCHOR = 1000.0
"""Components are below 30, so they change the length by less than a thousandth."""
LOG_VARIANCE = -6.0
"""Of the distribution whose mode is the component; a sample of it would be told from the mode."""


def make_vae(folder: Path, pictures: Sequence[Pixels]) -> dict[str, Any]:
    """Write config.json and weights to `folder`, as diffusers writes them, and return what is known of the encoder.

    pictures: uint8 [H, W, 3] of one size, whose sides are multiples of 8. Returns parameters, psnr (dB, mean over the
    pictures) and explained (share of variance that is kept). ConfigError for other sizes or too few pictures.
    """
    from diffusers.models.autoencoders import autoencoder_kl_wan

    stock: Any = autoencoder_kl_wan

    shapes = {picture.shape for picture in pictures}
    height, width = next(iter(shapes))[:2] if len(shapes) == 1 else (1, 1)
    if height % PATCH or width % PATCH or height * width * len(pictures) < CHANNELS * PATCH**2:
        raise ConfigError(
            what=f"{len(pictures)} pictures of {', '.join(map(str, sorted(shapes))) or 'no size'}",
            why=f"the encoder is fitted to whole patches of {PATCH} x {PATCH} pixels, {CHANNELS} of them at least",
            fix="set datacomp.vae.made.size to a multiple of 8",
        )
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)[:, :, None].float() / 127.5 - 1
    patches = stock.patchify(x, PATCH)[:, :, 0].permute(0, 2, 3, 1).reshape(-1, 3 * PATCH**2).double()
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    components = directions[:, -CHANNELS:].flip(1).T
    # Directions are found up to their sign; this one does not depend on how.
    components = components * components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    latents = (patches - mean) @ components.T
    model = stock.AutoencoderKLWan(
        base_dim=WIDTH,
        z_dim=CHANNELS,
        dim_mult=[1],
        num_res_blocks=1,
        temperal_downsample=[],
        patch_size=PATCH,
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        latents_mean=latents.mean(0).tolist(),
        latents_std=latents.std(0).clamp_min(1e-2).tolist(),
    )
    _write_weights(model, components.float(), mean.float())
    with torch.no_grad():
        again = model.decode(model.encode(x).latent_dist.mode()).sample
    errors = (again - x).square().mean(dim=(1, 2, 3, 4)).clamp_min(1e-10)
    model.save_pretrained(folder)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "psnr": float((10 * torch.log10(4 / errors)).mean()),
        "explained": float(variances[-CHANNELS:].sum() / variances.sum().clamp_min(1e-12)),
    }


@torch.no_grad()
def _write_weights(model: Any, components_CF: torch.Tensor, mean_F: torch.Tensor) -> None:
    """The linear map to components of patches [F = 192] less their mean, and back."""
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if name.endswith("gamma") else 0.0)
    length = ANCHOR / WIDTH**0.5
    eye = torch.eye(CHANNELS)
    _put_in(model.encoder.conv_in, components_CF, -(components_CF @ mean_F))
    log_variances = torch.full((CHANNELS,), LOG_VARIANCE)
    _put_out(model.encoder.conv_out, length * eye, torch.cat([torch.zeros(CHANNELS), log_variances]))
    model.quant_conv.weight[:, :, 0, 0, 0] = torch.eye(2 * CHANNELS)
    model.post_quant_conv.weight[:, :, 0, 0, 0] = eye
    _put_in(model.decoder.conv_in, eye, torch.zeros(CHANNELS))
    _put_out(model.decoder.conv_out, length * components_CF.T, mean_F)


def _put_in(convolution: Any, matrix: torch.Tensor, bias: torch.Tensor) -> None:
    """Of what comes in: components with both signs, and the constant. Only the middle of the kernel is used, and of its
    steps in time the last, which is the frame itself."""
    for sign, first in ((1, 0), (-1, CHANNELS)):
        convolution.weight[first : first + CHANNELS, :, -1, 1, 1] = sign * matrix
        convolution.bias[first : first + CHANNELS] = sign * bias
    convolution.bias[2 * CHANNELS] = ANCHOR


def _put_out(convolution: Any, matrix: torch.Tensor, bias: torch.Tensor) -> None:
    """Of components with both signs, what goes out."""
    rows = len(matrix)
    convolution.weight[:rows, :CHANNELS, -1, 1, 1] = matrix
    convolution.weight[:rows, CHANNELS : 2 * CHANNELS, -1, 1, 1] = -matrix
    convolution.bias[:] = bias

"""Latents [N, C, h, w] as features of world tokens [N, N_w, k], and the network from k features to width d.

Nothing is lost but by `stats`. Tokens are in row-major order of their place; the k features of a square of latent
positions are in the order channel, row, column. Source: theworld spec section 4.
"""

from __future__ import annotations

import torch
from torch import nn

from trackyard.models.theworld.parameters import POOLED, Mode, ProjectorKind


def features_of(mode: Mode, latents_NChw: torch.Tensor) -> torch.Tensor:
    """Features [N, N_w, k] of latents whose sides the mode's squares tile (`tokens_of` has checked it)."""
    if mode == "channel":
        return latents_NChw.flatten(2)
    if mode == "stats":
        flat_NCP = latents_NChw.flatten(2)
        statistics = (flat_NCP.mean(-1), flat_NCP.std(-1, correction=0), flat_NCP.amin(-1), flat_NCP.amax(-1))
        return torch.stack(statistics, dim=-1).flatten(1)[:, None]
    side = POOLED[mode]
    count, channels, rows, columns = latents_NChw.shape
    squares = latents_NChw.reshape(count, channels, rows // side, side, columns // side, side)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(count, (rows // side) * (columns // side), channels * side**2)


def projector_of(kind: ProjectorKind, features: int, width: int) -> nn.Sequential:
    """k features to width d: one matrix, or two with a GELU between; `mlp_gelu_out` ends in another one."""
    layers: list[nn.Module] = [nn.Linear(features, width)]
    if kind != "linear":
        layers += [nn.GELU(), nn.Linear(width, width)]
    if kind == "mlp_gelu_out":
        layers.append(nn.GELU())
    return nn.Sequential(*layers)

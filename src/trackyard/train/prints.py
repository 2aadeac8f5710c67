"""Fingerprints of tensors by which a later state is compared with an earlier one that was not kept.

Two questions: is a tensor the same bit for bit, and if not, has it moved by more than rounding does? A copy of every
weight would answer both and double the memory.

Shapes: P projections; C elements of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

PROJECTIONS = 4
CHUNK = 1 << 18
ROUNDING = 2.0**-21
"""Relative to the tensor's norm; one unit in the last place of fp32 in each element is at most a quarter of it."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, kw_only=True, slots=True)
class Print:
    """Of one tensor: a 64-bit digest of its bits, its squared norm, and P random weighted sums of its elements."""

    digest: int
    square: float
    sums: tuple[float, ...]

    def same(self, other: Print) -> bool:
        """Bit for bit; a single changed element is always seen."""
        return self.digest == other.digest

    def moved(self, later: Print) -> bool:
        """Whether `later` is away by more than rounding.

        The weights of a sum are uniform in -1..1, so that the expected square of its change is a third of that of the
        tensor. That all P of them miss a movement needs a chance of below 1e-12.
        """
        change = 3 * sum((a - b) ** 2 for a, b in zip(self.sums, later.sums, strict=True)) / PROJECTIONS
        return not self.same(later) and bool(change > ROUNDING**2 * max(self.square, later.square))


class Printer:
    """Takes prints; only prints of one printer can be compared."""

    def __init__(self, device: torch.device) -> None:
        random = torch.Generator().manual_seed(0)
        self._device = device
        # Odd factors of integers are invertible: one changed element always changes the sum.
        self._odd = (torch.randint(-(1 << 62), 1 << 62, (CHUNK,), generator=random) * 2 + 1).to(device)
        self._weights = (2 * torch.rand(PROJECTIONS, CHUNK, dtype=torch.float64, generator=random) - 1).to(device)

    def take(self, tensors: Sequence[torch.Tensor]) -> list[Print]:
        """One print each, waiting for the device once."""
        if not tensors:
            return []
        digests, sums = zip(*(self._one(tensor) for tensor in tensors), strict=True)
        numbers = torch.stack(sums).tolist()
        return [
            Print(digest=digest, square=row[0], sums=tuple(row[1:]))
            for digest, row in zip(torch.stack(digests).tolist(), numbers, strict=True)
        ]

    @torch.no_grad()
    def _one(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        flat = tensor.detach().reshape(-1)
        digest = torch.zeros((), dtype=torch.int64, device=self._device)
        sums = torch.zeros(1 + PROJECTIONS, dtype=torch.float64, device=self._device)
        for number, at in enumerate(range(0, flat.numel(), CHUNK)):
            chunk = flat[at : at + CHUNK].to(self._device)
            size = chunk.numel()
            bits = chunk.view(_INTEGERS[chunk.element_size()]).long()
            # Chunks use the same random numbers, each times a factor of its own.
            digest = digest * 3 + (bits * self._odd[:size]).sum()
            values = chunk.double()
            factor = 0.5 + (number * 0.6180339887498949) % 1.0
            sums[0] += values.square().sum()
            sums[1:] += factor * (self._weights[:, :size] @ values)
        return digest, sums

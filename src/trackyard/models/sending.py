"""Arrays of the host on their way to a device, without waiting for it."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray


def sent(array: NDArray[Any] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """A host array on its way to a device, without waiting for it; memory that is not pinned yet is pinned for it."""
    tensor = torch.as_tensor(array)
    if device.type == "cuda" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)

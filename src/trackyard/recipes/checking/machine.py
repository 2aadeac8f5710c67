"""This machine, as the checks of a study ask it: its accelerator, and what mends its disk.

Source: pile-ffn spec section 12.
"""

from __future__ import annotations

from trackyard.errors import EnvironmentLacking
from trackyard.launch.preflight import Seen

LARGER_CACHE = "free space there, or set HF_HOME to a larger file system"
LARGER_CHECKOUT = "free space there, or work in a checkout on a larger file system"


def accelerator(*, needed: bool, device_bytes: int, smaller: str) -> Seen:
    """The GPUs that are visible, if any has to be, have the memory that training takes.

    smaller: command that names the smallest change that fits.
    """
    import torch

    count = torch.cuda.device_count()
    found = [
        (torch.cuda.get_device_name(number), torch.cuda.get_device_properties(number).total_memory)
        for number in range(count)
    ]
    if needed and count == 0:
        raise EnvironmentLacking(
            what="no GPU is visible",
            why="the configured stage needs one",
            fix="run the check on a GPU node, or check CUDA_VISIBLE_DEVICES and the driver",
        )
    too_small = [f"{name} with {memory:,} bytes" for name, memory in found if memory < device_bytes]
    if too_small:
        raise EnvironmentLacking(
            what=f"{too_small[0]}: training takes {device_bytes:,}",
            why="it would run out of memory in its first step",
            fix=f"{smaller} names the smallest change that fits; or use a larger GPU",
        )
    devices = ", ".join(f"{name} {memory / 1e9:.0f} GB" for name, memory in found)
    return Seen(detail=devices or "none visible, none needed", examined=1)

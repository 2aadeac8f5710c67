"""Devices that a stage may train on: memory, arithmetic they can be expected to do, links between them.

Nothing here was measured by us unless it is in the record of measurements, which takes the place of `utilisation`.
Source: performance spec sections 3, 5 and 9.8.
"""

from __future__ import annotations

from dataclasses import dataclass

from trackyard.errors import ConfigError
from trackyard.train.flops import peak

GIB = 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One GPU, or the cores of a machine.

    memory_bytes: usable by a process; None where the site says it (a CPU). marketed_as: what `train.flops.peak` knows
    it by. utilisation: executed FLOP over peak, what backward computes again included; for a CPU, FLOP/s of a rank.
    link: bytes/s to a neighbour in the node, one way. reserved_bytes: what a process holds before it has a tensor.
    """

    name: str
    marketed_as: str
    memory_bytes: float | None
    utilisation: float
    link: float
    reserved_bytes: float

    @property
    def is_cpu(self) -> bool:
        return self.memory_bytes is None

    @property
    def rate(self) -> float:
        """FLOP/s that one rank is expected to execute."""
        known = peak(self.marketed_as)
        return self.utilisation if known is None else known * self.utilisation


_CONTEXT = 1.6e9
"""CUDA context, cuBLAS workspaces and NCCL's buffers of a rank, bytes."""

DEVICES = {
    device.name: device
    for device in (
        # Small matrices in fp32 on one core. A process with torch, transformers and DeepSpeed holds 0.7 GB.
        Device(name="cpu", marketed_as="CPU", memory_bytes=None, utilisation=4e10, link=5e9, reserved_bytes=0.7e9),
        # MPT-1B reaches 52 %, TinyLlama 52 %, Pythia 32 % with everything computed again (43 % executed).
        Device(
            name="a100-40",
            marketed_as="A100",
            memory_bytes=39.4 * GIB,
            utilisation=0.45,
            link=300e9,
            reserved_bytes=_CONTEXT,
        ),
        # MPT-1B reaches 56 %, MPT-3B 59 %.
        Device(
            name="a100-80",
            marketed_as="A100",
            memory_bytes=79.2 * GIB,
            utilisation=0.45,
            link=300e9,
            reserved_bytes=_CONTEXT,
        ),
        # MPT-1B reaches 39 % on 8 and 34 % on 512 of them.
        Device(
            name="h100",
            marketed_as="H100",
            memory_bytes=79.1 * GIB,
            utilisation=0.38,
            link=450e9,
            reserved_bytes=_CONTEXT,
        ),
        # Llama-3 8B reaches 51 % when compiled whole, with everything computed again (68 % executed).
        Device(
            name="h200",
            marketed_as="H200",
            memory_bytes=139.0 * GIB,
            utilisation=0.45,
            link=450e9,
            reserved_bytes=_CONTEXT,
        ),
    )
}


def device_of(name: str) -> Device:
    """A device by name; ConfigError with the names there are."""
    if name not in DEVICES:
        raise ConfigError(
            what=f"no device {name!r} is known",
            why=f"memory and speed are known of {', '.join(DEVICES)}",
            fix="name one of them as `device` of the profile",
        )
    return DEVICES[name]

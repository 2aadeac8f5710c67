"""What the machine does while a run trains: its cores, the memory of the process, its GPUs and the energy they take.

What a device does not know is absent, never 0. Source: issue 9, system metrics; NVML of nvidia-ml-py 13.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

CPU_SHARE = "system/cpu_share"
PROCESS_MEMORY = "system/process_memory_bytes"
ENERGY = "system/energy_joules"
"""Taken since the attempt began by the GPUs of this node that it uses. Cumulative; a new attempt begins at 0."""


class MachineUsage:
    """Measures from when it is made, which is when the attempt begins. Costs well below a millisecond a time."""

    def __init__(self, gpus: Sequence[str] | None = (), *, nvml: Any = None) -> None:
        """gpus: UUIDs ("GPU-…") of those that the attempt uses on this node; None where not all of them are seen here,
        and nothing is measured of any. nvml: the module pynvml."""
        import psutil

        self._process = psutil.Process()
        self._cpu_percent: Callable[..., float] = psutil.cpu_percent
        self._cpu_percent(interval=None)
        self._nvml: Any = None
        self._handles: list[Any] = []
        if gpus:
            self._nvml = nvml or importlib.import_module("pynvml")
            self._handles = _opened(gpus, self._nvml)
        self._energy_before = self._energy()

    def metrics(self) -> dict[str, float]:
        """What is so now; shares of the CPU are since the last call."""
        values = {
            CPU_SHARE: self._cpu_percent(interval=None) / 100,
            PROCESS_MEMORY: float(self._process.memory_info().rss),
        }
        for number, handle in enumerate(self._handles):
            values |= self._gpu(number, handle)
        energy = self._energy()
        if energy is not None and self._energy_before is not None:
            # Millijoules. The counter of a driver that was loaded anew begins again: then the sum is not known.
            spent = [now - before for now, before in zip(energy, self._energy_before, strict=True)]
            if min(spent) >= 0:
                values[ENERGY] = sum(spent) / 1000
            else:
                self._energy_before = None
        return values

    def _gpu(self, number: int, handle: Any) -> dict[str, float]:
        nvml = self._nvml
        values: dict[str, float] = {}
        for key, read in (
            ("utilisation_share", lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100),
            ("memory_bytes", lambda: float(nvml.nvmlDeviceGetMemoryInfo(handle).used)),
            # The driver counts in milliwatts.
            ("power_watts", lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        ):
            value = self._known(read)
            if value is not None:
                values[f"system/gpu_{key}/{number}"] = value
        return values

    def _energy(self) -> list[int] | None:
        """The counters of all GPUs in millijoules; None where one of them is not known, as a sum would be too small."""
        if not self._handles:
            return None
        read = self._nvml.nvmlDeviceGetTotalEnergyConsumption
        found = [self._known(read, handle) for handle in self._handles]
        return None if any(value is None for value in found) else [int(value) for value in found]

    def _known(self, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except self._nvml.NVMLError:
            # A partition of a GPU, an older one, or one that has fallen off the bus: that value is not known.
            return None


def _opened(gpus: Sequence[str], nvml: Any) -> list[Any]:
    """Handles of `gpus`; none where the driver does not let itself be asked."""
    try:
        nvml.nvmlInit()
        return [nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in gpus]
    except nvml.NVMLError:
        return []


def used_gpus(local_world: int) -> list[str] | None:
    """UUIDs of the GPUs that the `local_world` ranks of this node use, none on a CPU.

    None where this process does not see all of them, as when each rank was given its own.
    """
    import torch

    if not torch.cuda.is_available():
        return []
    if torch.cuda.device_count() < local_world:
        return None
    return [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in range(local_world)]

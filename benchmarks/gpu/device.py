"""The accelerator of a measurement: what it is, how long it took, how much of its memory was used."""

from __future__ import annotations

import gc
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch


def lacking() -> str | None:
    """Why nothing can be measured here; None with a CUDA device."""
    if torch.cuda.is_available():
        return None
    return (
        "what: torch finds no CUDA device\n"
        "why:  figures of a CPU say nothing about one, so nothing is measured and nothing is claimed\n"
        "fix:  run on a machine with an NVIDIA GPU and a CUDA build of torch; --tiny shows that a script works without"
    )


def device_of(tiny: bool) -> torch.device:
    """The CPU for tiny sizes, so that they mean the same everywhere; else the first GPU."""
    return torch.device("cpu") if tiny else torch.device("cuda", 0)


def name_of(device: torch.device) -> str:
    """What MFU is looked up by."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def facts(device: torch.device) -> dict[str, Any]:
    """Device, driver and versions for the record."""
    found = {"device": name_of(device), "torch": torch.__version__, "cuda": torch.version.cuda}
    if device.type == "cuda":
        found["memory_gb"] = round(torch.cuda.get_device_properties(device).total_memory / 1e9, 1)
        found["driver"] = _driver()
    return found


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "not known: nvidia-smi is not on the path"
    argv = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Runs from when it is made, on a device that has nothing left to do."""

    def __init__(self, device: torch.device) -> None:
        wait(device)
        self._device, self._wall, self._cpu = device, time.perf_counter(), time.process_time()

    def report(self, units: float) -> dict[str, float]:
        """Units of work with the seconds that they took, once the device has done them."""
        wait(self._device)
        return {
            "units": units,
            "wall_s": time.perf_counter() - self._wall,
            "cpu_s": time.process_time() - self._cpu,
        }


def compile_layers(model: torch.nn.Module) -> None:
    """Compile each transformer layer by itself: one graph serves all of them, and names of weights stay."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    # Padded micro-batches have a shape each.
    torch._dynamo.config.recompile_limit = 64
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.compile()


def peak_gb(device: torch.device) -> float:
    """Most device memory that tensors held since `forget`; on a CPU 0, since nobody counts it there."""
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else 0.0


def forget(device: torch.device) -> None:
    """Give a GPU's cached memory back and start the peak anew."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def in_turns(
    turns: dict[str, Callable[[], float]], device: torch.device, *, rounds: int, warm: int = 1
) -> tuple[dict[str, list[dict[str, float]]], dict[str, float]]:
    """Reports by name of contenders of this process, one turn each and round, and the memory peak of each in GB.

    A turn does its work and returns its units; the first `warm` rounds compile and do not count.
    """
    reports: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    peaks = dict.fromkeys(turns, 0.0)
    for number in range(warm + rounds):
        for name, turn in turns.items():
            forget(device)
            watch = Stopwatch(device)
            found = watch.report(turn())
            if number >= warm:
                reports[name].append(found)
                peaks[name] = max(peaks[name], peak_gb(device))
    return reports, peaks

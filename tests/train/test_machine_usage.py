"""What the machine does: what is known of it, and nothing where it is not."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trackyard.record.metric_names import family, unit
from trackyard.train.machine_usage import CPU_SHARE, ENERGY, PROCESS_MEMORY, MachineUsage, used_gpus


class FakeNvml:
    """A driver with two GPUs. joules: their counters; unknown: names of the calls that fail, by GPU."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.joules = {"GPU-a": 1000.0, "GPU-b": 50.0}
        self.unknown: set[tuple[str, str]] = set()
        self.broken = False

    def _ask(self, call: str, handle: str, value: Any) -> Any:
        if (call, handle) in self.unknown:
            raise self.NVMLError
        return value

    def nvmlInit(self) -> None:
        if self.broken:
            raise self.NVMLError

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        return self._ask("utilisation", handle, SimpleNamespace(gpu=75))

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return self._ask("memory", handle, SimpleNamespace(used=3 << 30))

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return int(self._ask("power", handle, 250_000))

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        return int(self._ask("energy", handle, self.joules[handle] * 1000))


@pytest.fixture
def nvml() -> FakeNvml:
    return FakeNvml()


def test_without_a_gpu_the_cores_and_the_memory() -> None:
    values = MachineUsage().metrics()
    assert set(values) == {CPU_SHARE, PROCESS_MEMORY}
    assert 0.0 <= values[CPU_SHARE] <= 1.0
    assert 1 << 20 < values[PROCESS_MEMORY] < 1 << 40


def test_a_busy_core_shows() -> None:
    usage = MachineUsage()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert usage.metrics()[CPU_SHARE] > 0


def test_a_gpu_says_what_it_does_and_what_it_took_since_the_attempt_began(nvml: FakeNvml) -> None:
    usage = MachineUsage(["GPU-a", "GPU-b"], nvml=nvml)
    assert usage.metrics()[ENERGY] == 0.0
    nvml.joules = {"GPU-a": 1600.0, "GPU-b": 90.5}
    values = usage.metrics()
    assert values[ENERGY] == 640.5
    for number in (0, 1):
        assert values[f"system/gpu_utilisation_share/{number}"] == 0.75
        assert values[f"system/gpu_memory_bytes/{number}"] == float(3 << 30)
        assert values[f"system/gpu_power_watts/{number}"] == 250.0
    for name in values:
        assert family(name).name == "system"
    assert [unit(name) for name in (ENERGY, "system/gpu_power_watts/0", PROCESS_MEMORY)] == ["J", "W", "B"]


def test_a_sum_of_which_a_part_is_unknown_is_no_sum(nvml: FakeNvml) -> None:
    nvml.unknown = {("energy", "GPU-b"), ("utilisation", "GPU-a")}
    values = MachineUsage(["GPU-a", "GPU-b"], nvml=nvml).metrics()
    assert ENERGY not in values
    assert "system/gpu_utilisation_share/0" not in values
    assert "system/gpu_power_watts/0" in values


def test_a_counter_that_began_again_gives_no_energy_from_then_on(nvml: FakeNvml) -> None:
    usage = MachineUsage(["GPU-a"], nvml=nvml)
    nvml.joules["GPU-a"] = 3.0
    assert ENERGY not in usage.metrics()
    nvml.joules["GPU-a"] = 2000.0
    assert ENERGY not in usage.metrics()


@pytest.mark.parametrize("gpus", [None, []])
def test_gpus_that_are_not_seen_are_not_measured(nvml: FakeNvml, gpus: list[str] | None) -> None:
    assert set(MachineUsage(gpus, nvml=nvml).metrics()) == {CPU_SHARE, PROCESS_MEMORY}


def test_a_driver_that_does_not_answer_is_no_reason_to_stop(nvml: FakeNvml) -> None:
    nvml.broken = True
    assert set(MachineUsage(["GPU-a"], nvml=nvml).metrics()) == {CPU_SHARE, PROCESS_MEMORY}


def test_the_gpus_of_the_ranks_of_this_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert used_gpus(2) == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"u{number}"))
    assert used_gpus(1) == ["GPU-u0"]
    assert used_gpus(2) == ["GPU-u0", "GPU-u1"]
    assert used_gpus(3) is None


def test_a_log_point_costs_less_than_a_millisecond() -> None:
    usage = MachineUsage()
    usage.metrics()
    fastest = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        usage.metrics()
        fastest = min(fastest, time.perf_counter() - started)
    assert fastest < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a GPU is needed")
def test_a_real_gpu_takes_energy() -> None:
    usage = MachineUsage(used_gpus(1))
    end = time.monotonic() + 2
    block = torch.randn(4096, 4096, device="cuda")
    while time.monotonic() < end:
        block = torch.nn.functional.normalize(block @ block)
    torch.cuda.synchronize()
    values = usage.metrics()
    assert values[ENERGY] > 10.0
    assert values["system/gpu_power_watts/0"] > 10.0
    assert values["system/gpu_memory_bytes/0"] > 0

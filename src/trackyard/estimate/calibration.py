"""Recorded measurements: what runs really took, and how far the predictions were off.

A prediction takes its speed and the memory that is no tensor's from the nearest recorded case of the same device. What
is printed as the error of a recorded case is that of a prediction from the other ones alone: the nearest case of a
recorded case is that case itself, and would always be right.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trackyard.errors import DataError
from trackyard.estimate.devices import Device
from trackyard.estimate.duration import executed_flops
from trackyard.estimate.memory import rank_memory, total
from trackyard.estimate.workload import Lengths, Workload
from trackyard.schema import read_document

SCHEMA = "trackyard-measurements/1"
FILE = Path("profiles") / "measurements.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One measured run of a stage.

    profile: the parameter file, for tracks that have one; preset: the model size otherwise. engine: what of the
    engine's parameters was set for the run. step_s: median of its steps. peak_bytes: of one rank, on its device.
    """

    device: str
    track: str
    stage: str
    profile: str
    preset: str
    world: int
    engine: dict[str, Any]
    lengths: Lengths
    steps: int
    step_s: float
    tokens_per_s: float
    peak_bytes: float
    commit: str

    @property
    def name(self) -> str:
        return f"{self.track} {self.stage}, {self.profile or self.preset}, {self.world} x {self.device}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A measured run beside what it was asked to do."""

    measured: Measured
    work: Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """rate: FLOP/s of a rank; reserved: bytes of a process that are no tensor's; source: where both are from."""

    rate: float
    reserved: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Error:
    """How far a prediction from the other recorded cases is from a recorded one: 0.1 is 10 % too much."""

    case: str
    time: float
    memory: float


def read_measurements(path: Path) -> list[Measured]:
    """The recorded runs; none where there is no file. DataError for a file that does not hold them."""
    if not path.is_file():
        return []
    fix = f"`git checkout -- {path}`, or measure anew: `python -m benchmarks.estimate`"
    found = read_document(path, SCHEMA, fix=fix)["runs"]
    try:
        return [Measured(**(one | {"lengths": Lengths(**one["lengths"])})) for one in found]
    except (TypeError, KeyError) as error:
        raise DataError(
            what=f"{path}: {error}", why="a measurement without its circumstances predicts nothing", fix=fix
        ) from error


def as_record(measured: Measured) -> dict[str, Any]:
    """One entry of `runs`."""
    return asdict(measured)


def cases_of(measurements: Sequence[Measured], device: Device, rebuild: Callable[[Measured], Workload]) -> list[Case]:
    """The recorded runs of a device, each with the workload that it was."""
    return [Case(measured=one, work=rebuild(one)) for one in measurements if one.device == device.name]


def calibrate(work: Workload, device: Device, cases: Sequence[Case]) -> Calibration:
    """Speed and reserved memory from the nearest case; what the device is expected to do where there is none."""
    if not cases:
        return Calibration(
            rate=device.rate,
            reserved=device.reserved_bytes,
            source=f"no run on {device.name} is recorded: {_expected(device)}",
        )
    nearest = min(cases, key=lambda case: _distance(work, case.work))
    rate = executed_flops(nearest.work) / nearest.measured.step_s
    reserved = [case.measured.peak_bytes - _modelled(case, device) for case in cases]
    return Calibration(
        rate=rate,
        reserved=max(statistics.median(reserved), 0.0),
        source=f"speed of {nearest.measured.name}, measured at {nearest.measured.commit[:12]}",
    )


Predict = Callable[[Workload, Calibration], tuple[float, float]]
"""Seconds of a step and bytes of a rank."""


def errors(device: Device, cases: Sequence[Case], predict: Predict) -> list[Error]:
    """The error of every recorded case, predicted from the others."""
    found = []
    for case in cases:
        others = [other for other in cases if other is not case]
        seconds, peak = predict(case.work, calibrate(case.work, device, others))
        found.append(
            Error(
                case=case.measured.name,
                time=seconds / case.measured.step_s - 1,
                memory=peak / case.measured.peak_bytes - 1,
            )
        )
    return found


def _expected(device: Device) -> str:
    if device.is_cpu:
        return f"{device.rate / 1e9:.0f} GFLOP/s a rank are assumed"
    return f"{device.utilisation:.0%} of the nominal peak are assumed"


def _modelled(case: Case, device: Device) -> float:
    return total(rank_memory(case.work, device, reserved=0.0), "device")


def _distance(one: Workload, other: Workload) -> float:
    """How unlike two stages are as arithmetic: another size of model weighs as much as another size of step."""
    sizes = [
        (work.parameters, executed_flops(work), work.engine.micro_batch * work.attended.length) for work in (one, other)
    ]
    return sum(abs(math.log(left / right)) for left, right in zip(*sizes, strict=True))

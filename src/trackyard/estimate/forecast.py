"""The whole of an estimate: memory, time, cost, checkpoints, jobs, and whether a site allows it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trackyard.estimate.calibration import Calibration
from trackyard.estimate.devices import Device
from trackyard.estimate.duration import StepTime, step_time
from trackyard.estimate.memory import Item, rank_memory, total
from trackyard.estimate.workload import Workload
from trackyard.launch.sites import Partition, Site

STATE_BYTES = 12
"""Of a checkpoint, per trained parameter: fp32 master and two moments. The weights in bf16 are made from the master, so
that the 14 bytes of molmo2 spec section 13 are not needed."""
START_HOURS = 0.1
"""Of every job: start-up, proof of the data, loading the last checkpoint."""
LEAD_HOURS = 0.1
"""Before a job's end, in which it saves and stops."""
SCRATCH_SHARE = 0.8
"""Of a quota that one run may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One limit. needed and limit in `unit`; ok is whether it holds."""

    name: str
    ok: bool
    needed: float
    limit: float
    unit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A partition of a site with the device in it."""

    site: Site
    partition_name: str
    device: Device

    @property
    def partition(self) -> Partition:
        return self.site.partitions[self.partition_name]

    @property
    def gpus_per_node(self) -> int:
        return 1 if self.device.is_cpu else max(self.partition.gpus_per_node, 1)

    @property
    def ranks_per_node(self) -> int:
        return max(self.partition.cores_per_node, 1) if self.device.is_cpu else self.gpus_per_node

    @property
    def most_gpus(self) -> int:
        """That one user may use at once."""
        there = self.partition.nodes * self.gpus_per_node
        return min(there, self.partition.max_gpus_per_user or there)

    @property
    def network(self) -> float | None:
        """Bytes/s of one rank between nodes."""
        speed = self.partition.network_gbit_per_node
        return None if speed is None else speed * 1e9 / 8 / self.gpus_per_node


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """An estimate. hours: of the whole stage; service_units: None where nothing is charged."""

    work: Workload
    machine: Machine
    calibration: Calibration
    memory: tuple[Item, ...]
    step: StepTime
    hours: float
    gpu_hours: float
    service_units: float | None
    checkpoint_bytes: int
    checkpoints: int
    jobs: int
    checks: tuple[Check, ...]

    @property
    def fits(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def kept_bytes(self) -> int:
        """Of the checkpoints on disk at once: those kept, and the one being written."""
        return self.checkpoint_bytes * (self.work.engine.keep_checkpoints + 1)

    @property
    def nodes(self) -> int:
        return math.ceil(self.work.world / self.machine.ranks_per_node)


def forecast(work: Workload, machine: Machine, calibration: Calibration) -> Forecast:
    """Predict a stage on a machine and check it against the machine's limits."""
    memory = rank_memory(work, machine.device, reserved=calibration.reserved)
    step = step_time(
        work,
        machine.device,
        rate=calibration.rate,
        gpus_per_node=machine.ranks_per_node,
        network=machine.network,
    )
    hours = work.steps * step.seconds / 3600
    gpu_hours = 0.0 if machine.device.is_cpu else hours * work.world
    price = machine.partition.service_units_per_gpu_hour
    one = STATE_BYTES * work.trained
    per_job = _hours_of_a_job(work, machine)
    found = Forecast(
        work=work,
        machine=machine,
        calibration=calibration,
        memory=memory,
        step=step,
        hours=hours,
        gpu_hours=gpu_hours,
        service_units=None if price is None or machine.device.is_cpu else gpu_hours * price,
        checkpoint_bytes=one,
        checkpoints=math.ceil(work.steps / work.save_every),
        jobs=1 if per_job is None else max(1, math.ceil(hours / max(per_job, 1e-9))),
        checks=(),
    )
    return _checked(found, per_job)


def predict(work: Workload, machine: Machine, calibration: Calibration) -> tuple[float, float]:
    """Seconds of a step and bytes of a rank on its device, for the comparison with a measured run."""
    found = forecast(work, machine, calibration)
    return found.step.seconds, total(found.memory, "device")


def _hours_of_a_job(work: Workload, machine: Machine) -> float | None:
    """Hours of training in one job; None without a limit."""
    limits = [limit for limit in (machine.partition.max_hours, work.engine.max_hours) if limit is not None]
    return min(limits) - START_HOURS - LEAD_HOURS if limits else None


def _checked(found: Forecast, per_job: float | None) -> Forecast:
    machine, partition, work = found.machine, found.machine.partition, found.work
    ranks = min(work.world, machine.ranks_per_node)
    checks = []
    if machine.device.memory_bytes is not None:
        checks.append(_limit("memory of a GPU", total(found.memory, "device"), machine.device.memory_bytes, "bytes"))
    if partition.memory_gb_per_node is not None:
        place = ("device", "host") if machine.device.is_cpu else ("host",)
        host = ranks * sum(item.bytes for item in found.memory if item.where in place)
        checks.append(_limit("memory of a node", host, partition.memory_gb_per_node * 1e9, "bytes"))
    if not machine.device.is_cpu:
        checks.append(_limit("GPUs", work.world, machine.most_gpus, "GPUs"))
    if per_job is not None:
        # Otherwise a job that is cut off between two checkpoints would do the same work over and over.
        between = work.save_every * found.step.seconds / 3600
        checks.append(_limit("hours between checkpoints", between, per_job, "hours"))
    if machine.site.scratch is not None and machine.site.scratch.quota_tb is not None:
        room = machine.site.scratch.quota_tb * 1e12 * SCRATCH_SHARE
        checks.append(_limit("checkpoints on scratch", found.kept_bytes, room, "bytes"))
    return replace(found, checks=tuple(checks))


def _limit(name: str, needed: float, limit: float, unit: str) -> Check:
    return Check(name=name, ok=needed <= limit, needed=needed, limit=limit, unit=unit)

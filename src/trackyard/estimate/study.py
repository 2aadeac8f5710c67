"""All jobs of a study on a machine: hours, cost, storage, and whether a site allows them. A recipe makes the jobs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from trackyard.estimate.fit import Fitting
from trackyard.estimate.forecast import LEAD_HOURS, SCRATCH_SHARE, START_HOURS, Check, Forecast, Machine
from trackyard.estimate.jobs import Job, Slot
from trackyard.estimate.stored import Storage

UNINTERRUPTED, ON_SCRATCH, FILES = "longest part of a job", "the study on scratch", "files on scratch"
PROCESS_HOURS = 5 / 3600
"""Until a stage of this machine has imported what it needs; a job of a scheduler takes `START_HOURS`."""


@dataclass(frozen=True, kw_only=True)
class StudyForecast:
    """training: of one cell. jobs: every stage, item and seed in order. slots: when each runs."""

    machine: Machine
    training: Forecast
    change: Fitting | None
    """What makes the training fit; None if it does, or nothing does."""
    jobs: tuple[Job, ...]
    slots: dict[str, Slot]
    storage: Storage

    @property
    def gpu_hours(self) -> float:
        return 0.0 if self.machine.device.is_cpu else sum(job.gpu_hours for job in self.jobs)

    @property
    def hours(self) -> float:
        """From the first job's start to the last one's end, without waiting in a queue."""
        return max(slot.end for slot in self.slots.values())

    @property
    def service_units(self) -> float | None:
        """None where nothing is charged."""
        price = self.machine.partition.service_units_per_gpu_hour
        return None if price is None or self.machine.device.is_cpu else self.gpu_hours * price

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Those of the training, of jobs that cannot be interrupted, of bytes and of files."""
        scratch, room = self.machine.site.scratch, usable_hours(self.machine)
        found = list(self.training.checks)
        if room is not None:
            longest = max(job.longest for job in self.jobs)
            found.append(Check(name=UNINTERRUPTED, ok=longest <= room, needed=longest, limit=room, unit="hours"))
        peak = self.storage.peak
        if scratch is not None and scratch.quota_tb is not None:
            most = scratch.quota_tb * 1e12 * SCRATCH_SHARE
            found.append(Check(name=ON_SCRATCH, ok=peak.bytes <= most, needed=peak.bytes, limit=most, unit="bytes"))
        if scratch is not None and scratch.max_files is not None:
            files = scratch.max_files * SCRATCH_SHARE
            found.append(Check(name=FILES, ok=peak.files <= files, needed=peak.files, limit=files, unit="files"))
        return tuple(found)

    @property
    def fits(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def changes(self) -> tuple[str, ...]:
        """The smallest change for each thing that does not fit; none where it does, or where nothing is known."""
        failed = {check.name: check for check in self.checks if not check.ok}
        found = [] if self.change is None else list(self.change.changes)
        if UNINTERRUPTED in failed:
            needed = failed[UNINTERRUPTED].needed + START_HOURS + LEAD_HOURS
            found.append(f"a partition whose jobs may take {math.ceil(needed)} h")
        if ON_SCRATCH in failed:
            found += self.smaller(failed[ON_SCRATCH].limit)
        return tuple(found)

    def smaller(self, room: float) -> list[str]:
        """One change that brings the peak on disk below `room`, the one that costs least."""
        if self.storage.without_finished() <= room:
            return ["the checkpoints of each finished run removed before the next cells start"]
        return [another_file_system(self.storage)]


def another_file_system(storage: Storage) -> str:
    return f"a file system with {math.ceil(storage.final.bytes / SCRATCH_SHARE / 1e9):,} GB for the study alone"


def usable_hours(machine: Machine) -> float | None:
    """Of work in one job; None without a limit on time."""
    limit = machine.partition.max_hours
    return None if limit is None else limit - START_HOURS - LEAD_HOURS


def start_hours(machine: Machine) -> float:
    """Of every attempt, before it works."""
    return PROCESS_HOURS if machine.site.scheduler == "none" else START_HOURS


def attempts_of(hours: float, machine: Machine) -> int:
    """Jobs in a row that so many hours of work take."""
    room = usable_hours(machine)
    return 1 if room is None else max(1, math.ceil(hours / max(room, 1e-9)))


def at_once(machine: Machine) -> int | None:
    """GPUs that jobs may share out; None without a scheduler, where `dvc repro` runs one stage after the other."""
    return None if machine.site.scheduler == "none" else machine.most_gpus

"""A study as jobs: what waits for what, and when each runs where GPUs are few."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One stage, of one item where it is about one.

    hours: of one attempt after another, start-up included. longest: of its parts that cannot be interrupted, in hours;
    0 where a checkpoint can be taken. attempts: jobs in a row under the wall-clock limit. tasks: of an array, side by
    side, each as long as `hours`; gpus: of each.
    """

    stage: str
    item: str | None
    gpus: int
    hours: float
    longest: float
    attempts: int
    waits_for: tuple[str, ...]
    tasks: int = 1

    @property
    def name(self) -> str:
        """As `dvc repro` takes it."""
        return job_name(self.stage, self.item)

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.tasks * self.hours


@dataclass(frozen=True, slots=True)
class Step:
    """A job without its size: stage, its item, and the names of what must be done before."""

    stage: str
    item: str | None
    waits_for: tuple[str, ...]


def job_name(stage: str, item: str | None) -> str:
    return stage if item is None else f"{stage}@{item}"


@dataclass(frozen=True, slots=True)
class Slot:
    """Hours from the start of the study."""

    start: float
    end: float


def schedule(jobs: Sequence[Job], *, gpus: int | None) -> Mapping[str, Slot]:
    """When each job runs if every one starts as soon as it may, in their order, without waiting in a queue.

    gpus: at once; None: one job after the other. A job that asks for more than there are has them to itself.
    """
    slots: dict[str, Slot] = {}
    for job in jobs:
        earliest = max((slots[name].end for name in job.waits_for), default=0.0)
        # Nothing becomes free but at the end of another job.
        moments = sorted({earliest, *(slot.end for slot in slots.values() if slot.end > earliest)})
        start = next(at for at in moments if _free(jobs, slots, job, at, gpus))
        slots[job.name] = Slot(start, start + job.hours)
    return slots


def most_at_once(jobs: Sequence[Job], slots: Mapping[str, Slot], stage: str) -> int:
    """Jobs of a stage that run at the same time."""
    of_stage = [slots[job.name] for job in jobs if job.stage == stage]
    return max((sum(other.start <= slot.start < other.end for other in of_stage) for slot in of_stage), default=0)


def _free(jobs: Sequence[Job], slots: Mapping[str, Slot], job: Job, start: float, gpus: int | None) -> bool:
    """Whether `job` can run from `start` to its end beside what is already placed."""
    end = start + job.hours
    beside = [one for one in jobs if one.name in slots and slots[one.name].start < end and slots[one.name].end > start]
    if gpus is None:
        return not beside
    moments = [start, *(slots[one.name].start for one in beside if slots[one.name].start > start)]
    busy = max(_gpus(one for one in beside if slots[one.name].start <= at < slots[one.name].end) for at in moments)
    wanted = _gpus([job])
    return wanted == 0 or busy == 0 or busy + wanted <= gpus


def _gpus(jobs: Iterable[Job]) -> int:
    return sum(job.gpus * job.tasks for job in jobs)

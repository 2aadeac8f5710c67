"""What the jobs of a graph will take, from the plan alone: no data, GPU or scheduler is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.errors import TrackyardError

if TYPE_CHECKING:
    from trackyard.estimate.devices import Device
    from trackyard.estimate.forecast import Check
    from trackyard.estimate.workload import Workload
    from trackyard.launch.jobs.graph import Job
    from trackyard.launch.sites import Partition, Site
    from trackyard.launch.slurm.batch import Request

ESTIMATED = {"molmo2": None, "pile_ffn": "train", "datacomp": "train"}
"""Stages that are estimated one by one, by track; None: all that train."""
UNTOLD = "only training stages are estimated one by one"
"""Why there is no estimate of the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEstimate:
    """hours: of the whole stage, without waiting and starting. lives: jobs in a row under the limit that is asked for.

    service_units: of `credits`; None where the site states no price. misfits: limits that it breaks, in words.
    """

    hours: float
    lives: int
    service_units: float | None
    credits: str | None
    misfits: tuple[str, ...]


Estimates = Mapping[str, JobEstimate | str]
"""By name of the job; why there is none, in words."""


def estimates(root: Path, site: Site, jobs: Iterable[Job], profile: str | None) -> dict[str, JobEstimate | str]:
    """profile: in place of the parameters in force. Jobs of one stage that ask for the same take the same."""
    known: dict[tuple[str, ...], JobEstimate | str] = {}
    found = {}
    for job in jobs:
        track, stage = job.command[2:4] if len(job.command) > 3 else ("", "")
        key = (track, stage, str(job.request))
        if key not in known:
            known[key] = _estimate(root, site, track, stage, job.request, profile)
        found[job.name] = known[key]
    return found


def is_estimated(track: str, stage: str) -> bool:
    """Whether what a stage takes is told by itself."""
    return track in ESTIMATED and ESTIMATED[track] in (None, stage)


def planned_work(
    root: Path, site: Site, request: Request, track: str, stage: str, profile: Path, *, ranks: int
) -> tuple[Workload, Device]:
    """A stage in numbers on so many ranks, and what computes it; TrackyardError where its plan refuses them."""
    from trackyard.cli.estimate import device_there, planned_lengths
    from trackyard.recipes.stages import Asked, device_named, workload

    device = device_there(site, request.partition, device_named(profile))
    asked = Asked(
        track=track,
        stage=stage,
        profile=profile,
        # Where srun starts one process on one node, the stage starts as many as its parameters say.
        world=ranks if ranks > 1 else None,
        lengths=planned_lengths(root, profile, track, stage),
    )
    return workload(asked, device), device


def longest_chain(jobs: Sequence[Job], found: Estimates) -> int:
    """Lives one after the other along the dependencies; a job that is not estimated counts as one."""
    ends: dict[str, int] = {}
    for job in jobs:
        one = found[job.name]
        lives = one.lives if isinstance(one, JobEstimate) else 1
        ends[job.name] = lives + max((ends[name] for name in job.after), default=0)
    return max(ends.values(), default=0)


def _estimate(
    root: Path, site: Site, track: str, stage: str, request: Request, profile: str | None
) -> JobEstimate | str:
    if not is_estimated(track, stage):
        return UNTOLD
    from trackyard.estimate.calibration import FILE, calibrate, cases_of, read_measurements
    from trackyard.estimate.forecast import Machine, forecast
    from trackyard.launch.charges import service_units_per_hour
    from trackyard.recipes.stages import profile_path, rebuild

    path = profile_path(root, profile)
    where = _limited(site, request)
    partition = where.partitions[request.partition]
    try:
        work, device = planned_work(root, where, request, track, stage, path, ranks=request.ranks)
    except TrackyardError as error:
        return error.what
    if device.is_cpu and work.engine.precision == "bf16":
        return f"{path.name} computes in bf16, and partition {request.partition} has no GPU"
    cases = cases_of(read_measurements(root / FILE), device, lambda measured: rebuild(measured, root, device))
    machine = Machine(site=where, partition_name=request.partition, device=device)
    outcome = forecast(work, machine, calibrate(work, device, cases))
    price = service_units_per_hour(partition, request)
    return JobEstimate(
        hours=outcome.hours,
        lives=outcome.jobs,
        service_units=None if price is None else price * outcome.hours,
        credits=partition.credits,
        misfits=tuple(_misfits(outcome.checks, outcome.jobs, site)),
    )


def _misfits(checks: Iterable[Check], lives: int, site: Site) -> Iterator[str]:
    from trackyard.cli.estimate_printing import amount

    for check in checks:
        if not check.ok:
            needed, limit = amount(check.needed, check.unit), amount(check.limit, check.unit)
            yield f"{check.name}: needs {needed}, of at most {limit}"
    if lives > site.jobs.attempts:
        yield f"{lives} lives, of at most {site.jobs.attempts} (jobs.attempts of the site)"


def _limited(site: Site, request: Request) -> Site:
    """The site with the time and memory that are asked for, in place of the most that its partition grants."""
    from trackyard.launch.requests import MIB

    limits = {"max_hours": request.minutes / 60}
    if request.memory_mb_per_node is not None:
        limits["memory_gb_per_node"] = request.memory_mb_per_node * MIB / 1e9
    asked: Partition = site.partitions[request.partition].model_copy(update=limits)
    return site.model_copy(update={"partitions": {**site.partitions, request.partition: asked}})

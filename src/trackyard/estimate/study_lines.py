"""An estimate of a study for people and as a document: what all tracks say alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from trackyard.estimate.forecast import Check
from trackyard.estimate.jobs import Job
from trackyard.estimate.study import StudyForecast

ALL = 5
"""A stage that waits for as many others waits for everything."""


def chain_lines(found: StudyForecast) -> list[str]:
    """One row per stage, in order: its jobs are alike but for their item."""
    stage_of = {job.name: job.stage for job in found.jobs}
    several = any(job.tasks > 1 for job in found.jobs)
    rows = [
        (
            "stage",
            "jobs",
            *(("tasks",) if several else ()),
            "GPUs",
            "each",
            "GPU-hours",
            "attempts",
            "earliest",
            "after",
        )
    ]
    for stage, jobs in _stages(found.jobs):
        slots = [found.slots[job.name] for job in jobs]
        before = list(dict.fromkeys(stage_of[name] for job in jobs for name in job.waits_for))
        rows.append(
            (
                stage,
                f"{len(jobs)}",
                *((f"{jobs[0].tasks}",) if several else ()),
                f"{jobs[0].gpus}",
                took(max(job.hours for job in jobs)),
                f"{sum(job.gpu_hours for job in jobs):,.1f}",
                f"{max(job.attempts for job in jobs)}",
                took(min(slot.start for slot in slots)),
                ", ".join(before) if len(before) < ALL else "all of these",
            )
        )
    total = f"{len(found.jobs)} jobs, {took(found.hours)} without waiting in the queue; {cost(found)}"
    return [*table(rows), total]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side; the first and the last are words, the others are numbers."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if 0 < place < len(row) - 1 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _stages(jobs: Iterable[Job]) -> list[tuple[str, list[Job]]]:
    return [(stage, list(group)) for stage, group in groupby(jobs, key=lambda job: job.stage)]


def storage_lines(found: StudyForecast) -> list[str]:
    items = [f"  {item.name}: {amount(item.bytes)}, {item.files:,} files" for item in found.storage.items]
    peak, final = found.storage.peak, found.storage.final
    return [
        "on disk",
        *items,
        f"  at the peak {amount(peak.bytes)}, {peak.files:,} files; in the end, without checkpoints, "
        f"{amount(final.bytes)}, {final.files:,} files",
        f"  a checkpoint is {amount(found.training.checkpoint_bytes)}",
    ]


def totals_line(found: StudyForecast) -> str:
    peak, final = found.storage.peak, found.storage.final
    return (
        f"{len(found.jobs)} jobs, {took(found.hours)}; {cost(found)}; "
        f"{amount(peak.bytes)} on disk at the peak, {amount(final.bytes)} in the end"
    )


def verdict_lines(found: StudyForecast) -> list[str]:
    checks = [f"{check.name}: {_needed(check)}" for check in found.checks]
    if found.fits:
        return [*checks, "fits"]
    failed = ", ".join(check.name for check in found.checks if not check.ok)
    change = "; ".join(found.changes) or "no change of the settings is known that does"
    return [*checks, f"does not fit: {failed}; the smallest change that does: {change}"]


def _needed(check: Check) -> str:
    def shown(value: float) -> str:
        if check.unit == "bytes":
            return amount(round(value))
        return took(value) if check.unit == "hours" else f"{value:,.0f} {check.unit}"

    return f"{shown(check.needed)}, {'at most' if check.ok else 'MORE THAN'} {shown(check.limit)}"


def cost(found: StudyForecast) -> str:
    units = found.service_units
    charged = "" if units is None else f", {units:,.0f} service units of {found.machine.partition.credits} credits"
    return f"{found.gpu_hours:,.1f} GPU-hours{charged}"


def took(value: float) -> str:
    """Hours in words."""
    if value < 1:
        return f"{value * 3600:,.0f} s" if value < 1 / 30 else f"{value * 60:,.1f} min"
    return f"{value:,.1f} h" if value < 72 else f"{value / 24:,.1f} days"


def amount(value: int) -> str:
    """Bytes in words."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= limit:
            return f"{value / limit:,.2f} {unit}"
    return f"{value:,} B"


def study_document(found: StudyForecast) -> dict[str, Any]:
    """Hours and bytes as named; jobs in order, each with what it waits for."""
    machine, training = found.machine, found.training
    return {
        "site": machine.site.name,
        "partition": machine.partition_name,
        "device": machine.device.name,
        "speed": training.calibration.source,
        "training_hours": training.hours,
        "gpu_hours": found.gpu_hours,
        "hours": found.hours,
        "service_units": found.service_units,
        "jobs": [
            asdict(job) | {"name": job.name, "gpu_hours": job.gpu_hours, "from_hour": found.slots[job.name].start}
            for job in found.jobs
        ],
        "storage": {
            "items": [asdict(item) for item in found.storage.items],
            "peak_bytes": found.storage.peak.bytes,
            "peak_files": found.storage.peak.files,
            "final_bytes": found.storage.final.bytes,
            "final_files": found.storage.final.files,
            "checkpoint_bytes": training.checkpoint_bytes,
        },
        "checks": [asdict(check) for check in found.checks],
        "fits": found.fits,
        "smallest_change": None if found.fits else list(found.changes),
    }

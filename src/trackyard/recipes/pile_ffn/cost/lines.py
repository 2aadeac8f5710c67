"""An estimate of the study for people and as a document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from typing import Any

from trackyard.estimate.forecast import Check
from trackyard.recipes.pile_ffn.cost.arithmetic import (
    export_bytes,
    hours,
    legacy_steps,
    packed_bytes,
    reference_rate,
    token_flops,
)
from trackyard.recipes.pile_ffn.cost.estimating import StudyEstimate
from trackyard.recipes.pile_ffn.cost.job_chain import Job
from trackyard.recipes.pile_ffn.cost.scoring_work import EXACT_UTILISATION, SEARCH_UTILISATION, scoring_rates

REFERENCE = "pythia-1.4b"
"""The size of which a run was published."""
ALL = 5
"""A stage that waits for as many others waits for everything."""


def lines(found: StudyEstimate) -> list[str]:
    """Everything: the chain of jobs, storage, what it rests on, the verdict."""
    return [title(found), "", *_chain(found), "", *_storage(found), "", *_sources(found), *_verdict(found)]


def summary(found: StudyEstimate) -> list[str]:
    """Title, totals and verdict."""
    peak, final = found.storage.peak, found.storage.final
    return [
        title(found),
        f"{len(found.jobs)} jobs, {_took(found.hours)}; {_cost(found)}; "
        f"{_size(peak.bytes)} on disk at the peak, {_size(final.bytes)} in the end",
        *_verdict(found),
    ]


def title(found: StudyEstimate) -> str:
    parameters, machine, training = found.parameters, found.machine, found.parameters.training
    arms, seeds = len(parameters.seeded), len(parameters.seeds)
    where = f"{machine.site.name}/{machine.partition_name}, {machine.device.name}"
    return (
        f"{parameters.model.id}: {arms} arms x {seeds} seeds and the untouched model, "
        f"{training.tokens:,} tokens each, on {where}"
    )


def _chain(found: StudyEstimate) -> list[str]:
    """One row per stage, in order: its jobs are alike but for their cell."""
    stage_of = {job.name: job.stage for job in found.jobs}
    rows = [("stage", "jobs", "GPUs", "each", "GPU-hours", "attempts", "earliest", "after")]
    for stage, jobs in _stages(found.jobs):
        slots = [found.slots[job.name] for job in jobs]
        before = list(dict.fromkeys(stage_of[name] for job in jobs for name in job.waits_for))
        rows.append(
            (
                stage,
                f"{len(jobs)}",
                f"{jobs[0].gpus}",
                _took(max(job.hours for job in jobs)),
                f"{sum(job.gpu_hours for job in jobs):,.1f}",
                f"{max(job.attempts for job in jobs)}",
                _took(min(slot.start for slot in slots)),
                ", ".join(before) if len(before) < ALL else "all of these",
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    table = [
        "  ".join(
            cell.rjust(width) if 0 < place < len(row) - 1 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    total = f"{len(found.jobs)} jobs, {_took(found.hours)} without waiting in the queue; {_cost(found)}"
    return [*table, total]


def _stages(jobs: Iterable[Job]) -> list[tuple[str, list[Job]]]:
    return [(stage, list(group)) for stage, group in groupby(jobs, key=lambda job: job.stage)]


def _storage(found: StudyEstimate) -> list[str]:
    items = [f"  {item.name}: {_size(item.bytes)}, {item.files:,} files" for item in found.storage.items]
    peak, final = found.storage.peak, found.storage.final
    return [
        "on disk",
        *items,
        f"  at the peak {_size(peak.bytes)}, {peak.files:,} files; in the end, without checkpoints, "
        f"{_size(final.bytes)}, {final.files:,} files",
        f"  a checkpoint is {_size(found.training.checkpoint_bytes)}",
    ]


def _sources(found: StudyEstimate) -> list[str]:
    parameters, step = found.parameters, found.training.step
    cells = len(parameters.trained_cells)
    text = [
        f"training: {step.tokens_per_s:,.0f} tokens/s on {found.training.work.world} x {found.machine.device.name}; "
        f"speed: {found.training.calibration.source}",
    ]
    if parameters.model.size == REFERENCE:
        one = hours(parameters.training.tokens, reference_rate())
        text.append(
            f"reference: {reference_rate():,.0f} tokens/s on one A100-80 were published, {one:,.2f} h a cell, "
            f"{cells * one:,.1f} h for {cells}"
        )
    exact, search = scoring_rates(found.machine.device)
    shares = f"{exact / 1e9:,.0f} GFLOP/s are assumed"
    if not found.machine.device.is_cpu:
        shares = (
            f"{EXACT_UTILISATION:.0%} of the fp32 peak without TF32 and {SEARCH_UTILISATION:.0%} of the bf16 peak are "
            f"assumed ({exact / 1e12:,.1f} and {search / 1e12:,.1f} TFLOP/s)"
        )
    text.append(f"evaluation and attacks, at most: {shares}")
    if found.constrained_bytes:
        text.append(f"memory of a GPU: with {_size(found.constrained_bytes)} of effective weights of the largest arm")
    return text


def _verdict(found: StudyEstimate) -> list[str]:
    checks = [f"{check.name}: {_amount(check)}" for check in found.checks]
    if found.fits:
        return [*checks, "fits"]
    failed = ", ".join(check.name for check in found.checks if not check.ok)
    change = "; ".join(found.changes) or "no change of the settings is known that does"
    return [*checks, f"does not fit: {failed}; the smallest change that does: {change}"]


def _amount(check: Check) -> str:
    def shown(value: float) -> str:
        if check.unit == "bytes":
            return _size(round(value))
        return _took(value) if check.unit == "hours" else f"{value:,.0f} {check.unit}"

    return f"{shown(check.needed)}, {'at most' if check.ok else 'MORE THAN'} {shown(check.limit)}"


def _cost(found: StudyEstimate) -> str:
    units = found.service_units
    charged = "" if units is None else f", {units:,.0f} service units of {found.machine.partition.credits} credits"
    return f"{found.gpu_hours:,.1f} GPU-hours{charged}"


def _took(value: float) -> str:
    """Hours in words."""
    if value < 1:
        return f"{value * 3600:,.0f} s" if value < 1 / 30 else f"{value * 60:,.1f} min"
    return f"{value:,.1f} h" if value < 72 else f"{value / 24:,.1f} days"


def _size(value: int) -> str:
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= limit:
            return f"{value / limit:,.2f} {unit}"
    return f"{value:,} B"


def to_json(found: StudyEstimate) -> dict[str, Any]:
    """Hours, bytes and tokens as named; jobs in order, each with what it waits for."""
    parameters, machine = found.parameters, found.machine
    return {
        "model": parameters.model.id,
        "arms": list(parameters.seeded),
        "seeds": list(parameters.seeds),
        "site": machine.site.name,
        "partition": machine.partition_name,
        "device": machine.device.name,
        "tokens_per_cell": parameters.training.tokens,
        "tokens_per_s": found.training.step.tokens_per_s,
        "speed": found.training.calibration.source,
        "training_hours": found.training.hours,
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
            "checkpoint_bytes": found.training.checkpoint_bytes,
        },
        "arithmetic": _arithmetic(found),
        "checks": [asdict(check) for check in found.checks],
        "fits": found.fits,
        "smallest_change": None if found.fits else list(found.changes),
    }


def _arithmetic(found: StudyEstimate) -> dict[str, Any]:
    """The table of pile-ffn spec section 13, of this study."""
    parameters, size = found.parameters, found.training.work.parameters
    training = parameters.training
    bf16, fp32 = export_bytes(size)
    flops, recomputed = token_flops(size)
    table: dict[str, Any] = {
        "parameters": size,
        "tokens_per_step": training.windows_per_step * training.window,
        "packed_bytes_per_slice": packed_bytes(training.tokens, found.training.work.vocab),
        "export_bf16_bytes": bf16,
        "export_fp32_bytes": fp32,
        "flop_per_token": flops,
        "flop_per_token_recomputed": recomputed,
    }
    if parameters.model.size == REFERENCE:
        one = hours(training.tokens, reference_rate())
        table["reference"] = {
            "tokens_per_s": reference_rate(),
            "useful_tokens_per_s": reference_rate(useful=True),
            "cell_hours": one,
            "trained_cells_hours": len(parameters.trained_cells) * one,
            "cell_hours_if_padded": hours(training.tokens, reference_rate(useful=True)),
            "legacy_steps": {str(epochs): legacy_steps(epochs) for epochs in (5, 10)},
        }
    return table

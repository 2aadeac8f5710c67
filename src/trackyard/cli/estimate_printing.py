"""The table of an estimate."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from trackyard.cli.printing import size
from trackyard.estimate.calibration import Error
from trackyard.estimate.fit import Fitting
from trackyard.estimate.forecast import Check, Forecast
from trackyard.estimate.memory import total
from trackyard.train.flops import CONVENTION

WIDTH = 110


def print_estimate(found: Forecast, change: Fitting | None, errors: Sequence[Error]) -> None:
    """One table, then what it rests on, then the verdict."""
    work, machine = found.work, found.machine
    title = f"{work.track} {work.stage} ({work.preset}) on {work.world} x {machine.device.name}"
    shown = Table(
        title=f"{title}, {machine.site.name}/{machine.partition_name}", title_justify="left", show_header=False
    )
    shown.add_column()
    shown.add_column(justify="right")
    shown.add_column()
    _memory(shown, found)
    shown.add_section()
    _time(shown, found)
    shown.add_section()
    for check in found.checks:
        shown.add_row(check.name, amount(check.needed, check.unit), _verdict(check))
    console = Console(width=WIDTH)
    console.print(shown)
    print(f"lengths: {work.lengths}")
    print(f"speed: {found.calibration.source}")
    for error in errors:
        print(
            f"  error on {error.case}: time {error.time:+.0%}, memory {error.memory:+.0%} (predicted from the others)"
        )
    for note in work.notes:
        print(f"note: {note}")
    _last(found, change)


def _memory(shown: Table, found: Forecast) -> None:
    engine = found.work.engine
    shown.add_row(
        "parameters",
        f"{found.work.parameters / 1e6:,.1f} M",
        f"{found.work.trained / 1e6:,.1f} M trained, {engine.precision}"
        + (" with bf16 products" if found.work.autocast else ""),
    )
    spread = f"ZeRO {engine.zero_stage}, micro-batch {engine.micro_batch}, context degree {engine.context_degree}"
    shown.add_row("spread", f"{found.work.world} ranks", f"{spread}, checkpointing {engine.activation_checkpointing}")
    for item in found.memory:
        place = "" if item.where == "device" else "in host memory"
        shown.add_row(f"  {item.name}", size(round(item.bytes)), place)
    shown.add_row("memory of a rank", size(round(total(found.memory, "device"))), f"on {found.machine.device.name}")


def _time(shown: Table, found: Forecast) -> None:
    work, step = found.work, found.step
    parts = [
        f"{name} {seconds:,.3g} s"
        for name, seconds in (
            ("arithmetic", step.arithmetic),
            ("context", step.context),
            ("exchange", step.exchange),
            ("offload", step.offload),
        )
        if seconds
    ]
    if step.limited_by == "data":
        parts.append(f"waits for data: {step.data:,.3g} s")
    shown.add_row("step", f"{step.seconds:,.3g} s", ", ".join(parts))
    shown.add_row("useful tokens/s", f"{step.tokens_per_s:,.0f}", f"{work.tokens:,.0f} tokens a step")
    if step.mfu is not None:
        shown.add_row("MFU", f"{step.mfu:.1%}", CONVENTION)
    shown.add_row("time", f"{found.hours:,.2f} h", f"{work.steps:,} steps, without waiting in the queue")
    if found.gpu_hours:
        units = found.service_units
        cost = "" if units is None else f"{units:,.0f} service units of {found.machine.partition.credits} credits"
        shown.add_row("GPU-hours", f"{found.gpu_hours:,.1f}", cost)
    shown.add_row("jobs, one after the other", f"{found.jobs:,}", _jobs(found))
    every = f"{found.checkpoints:,} written, {size(found.kept_bytes)} on disk at once"
    shown.add_row("checkpoint", size(found.checkpoint_bytes), every)


def _jobs(found: Forecast) -> str:
    limit = found.machine.partition.max_hours
    return "no limit on time" if limit is None else f"of at most {limit:g} h on {found.nodes} nodes"


def amount(value: float, unit: str) -> str:
    """What a check compares, with its unit."""
    return size(round(value)) if unit == "bytes" else f"{value:,.4g} {unit}" if unit == "hours" else f"{value:,.0f}"


def _verdict(check: Check) -> str:
    return f"{'fits' if check.ok else 'DOES NOT FIT'}: at most {amount(check.limit, check.unit)}"


def _last(found: Forecast, change: Fitting | None) -> None:
    if found.fits:
        print("fits")
        return
    failed = ", ".join(check.name for check in found.checks if not check.ok)
    if change is None:
        print(f"does not fit: {failed}; nothing helps of micro-batch, checkpointing, ZeRO, offload, context, GPUs")
        return
    step = change.forecast.step.seconds
    print(f"does not fit: {failed}; the smallest change that does: {', '.join(change.changes)} ({step:,.3g} s a step)")

"""`trackyard record`: deliver the spool to MLflow, and say how far that is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackyard.cli.printing import as_fields, print_json
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.record.tracking.pending import RunPending
    from trackyard.record.tracking.server import Patience
    from trackyard.record.tracking.sync import SyncReport

LOCK_WAIT_S = 60.0
"""How long an explicit sync waits for one that is running, as the follower's."""

app = typer.Typer(help="Metrics spooled on disk, delivered to MLflow exactly once.", no_args_is_help=True)


@app.command()
def sync(
    follow: Annotated[
        float | None, typer.Option(help="go on until interrupted, delivering what is new every so many seconds")
    ] = None,
) -> None:
    """Deliver everything that runs have spooled; safe to repeat and to interrupt."""
    from trackyard.cli.root import repository_root
    from trackyard.record.tracking.server import LONG

    root = repository_root()
    if follow is None:
        if not deliver(root, LONG, lock_wait_s=LOCK_WAIT_S, only_changed=False):
            sys.exit(1)
        return
    if not 0 < follow <= 86_400:
        raise ConfigError(
            what=f"--follow {follow:g}",
            why="it is the number of seconds between two deliveries, up to a day",
            fix="trackyard record sync --follow 30",
        )
    from trackyard.cli.following import follow_until_stopped

    follow_until_stopped(root, follow, whole_first=True, delivered=_delivered)


def _delivered(points: int) -> None:
    print(f"record    {points:,} points delivered to MLflow", flush=True)


def deliver(root: Path, patience: Patience, *, lock_wait_s: float, only_changed: bool) -> bool:
    """Sync all runs and say what came of it; False if something stayed in the spool."""
    from trackyard.record.tracking.server import tracking_uri
    from trackyard.record.tracking.sync import sync_all

    reports = sync_all(
        root / "runs", tracking_uri(root), patience=patience, lock_wait_s=lock_wait_s, only_changed=only_changed
    )
    print(f"record    {_summary(reports)}", flush=True)
    warnings = [report.warning for report in reports if report.warning is not None]
    for warning in {str(warning): warning for warning in warnings}.values():
        sys.stderr.write(f"warning: {type(warning).__name__}\n{warning}\n")
    return not warnings


def _summary(reports: Sequence[SyncReport]) -> str:
    if not reports:
        return "nothing new to deliver to MLflow"
    points = sum(report.points for report in reports)
    complete = sum(report.warning is None for report in reports)
    text = f"{points:,} points of {complete} of {len(reports)} runs delivered to MLflow"
    for name in ("torn", "damaged", "nonfinite"):
        count = sum(getattr(report, name) for report in reports)
        text += f", {count} {name}" if count else ""
    refused = sorted({key for report in reports for key in report.refused})
    if refused:
        text += f", refused by it: {', '.join(refused)}"
    registered = sum(len(report.registered) for report in reports)
    text += f", {registered} model version{'s' if registered > 1 else ''} registered" if registered else ""
    return text


@app.command()
def status(
    json_: Annotated[bool, typer.Option("--json", help="as one JSON object")] = False,
) -> None:
    """What every run has spooled, what of it was delivered and what was not, and why. Asks no server."""
    from trackyard.cli.root import repository_root
    from trackyard.record.tracking.pending import pending_runs
    from trackyard.record.tracking.server import place, tracking_uri

    root = repository_root()
    runs, last = pending_runs(root / "runs", place(tracking_uri(root)))
    if json_:
        print_json(_document(runs))
        return
    for run in runs:
        if run.pending or run.torn or run.damaged or run.refused or run.why:
            print(_line(run))
    pending = sum(run.pending for run in runs)
    delivered = sum(run.delivered for run in runs)
    print(f"record    {len(runs)} runs, {delivered:,} points delivered, {pending:,} pending")
    if last is not None:
        print(f"          last sync {_when(last.at_ms)} to {last.store}{f': {last.why}' if last.why else ''}")
    if pending:
        print("next: trackyard record sync")


def _line(run: RunPending) -> str:
    odd = [f"{getattr(run, name)} {name}" for name in ("refused", "torn", "damaged") if getattr(run, name)]
    text = ", ".join([f"{run.pending:,} of {run.spooled:,} points pending", *odd])
    return f"{run.path}  {text}{f'  ({run.why})' if run.why else ''}"


def _document(runs: Sequence[RunPending]) -> dict[str, Any]:
    totals = ("spooled", "delivered", "pending", "refused", "torn", "damaged")
    return {
        "schema": "trackyard-record-status/1",
        "runs": [as_fields(run) | {"pending": run.pending} for run in runs],
        "total": {name: sum(getattr(run, name) for run in runs) for name in totals},
    }


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

"""`trackyard record`: deliver the spool to MLflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from trackyard.record.sync import SyncReport

app = typer.Typer(help="Metrics spooled on disk, delivered to MLflow exactly once.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `sync` a subcommand."""


@app.command()
def sync() -> None:
    """Deliver everything that runs have spooled; safe to repeat and to interrupt."""
    from trackyard.cli.root import repository_root

    if not deliver(repository_root()):
        sys.exit(1)


def deliver(root: Path) -> bool:
    """Sync all runs and say what came of it; False if something stayed in the spool."""
    from trackyard.record.sync import sync_all
    from trackyard.record.tracking import tracking_uri

    uri = tracking_uri(root)
    reports = sync_all(root / "runs", uri)
    print(f"record    {_summary(reports)}", flush=True)
    warnings = [report.warning for report in reports if report.warning is not None]
    for warning in {str(warning): warning for warning in warnings}.values():
        sys.stderr.write(f"warning: {type(warning).__name__}\n{warning}\n")
    return not warnings


def _summary(reports: Sequence[SyncReport]) -> str:
    points = sum(report.points for report in reports)
    complete = sum(report.warning is None for report in reports)
    text = f"{points:,} points of {complete} of {len(reports)} runs delivered to MLflow"
    for name in ("torn", "damaged", "nonfinite"):
        count = sum(getattr(report, name) for report in reports)
        text += f", {count} {name}" if count else ""
    return text

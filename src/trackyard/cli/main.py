"""`trackyard`: one command line for all tracks. Commands import what they need when they run, so help is instant."""

from __future__ import annotations

import errno
import sys

import typer

from trackyard.cli import (
    catalog,
    compare,
    data,
    doctor,
    estimate,
    evaluate,
    feed,
    image,
    jobs,
    lineage,
    mixture,
    params,
    plan,
    preflight,
    publish,
    record,
    report,
    run,
    site,
    smoke,
    submit,
    table,
    ui,
    unlock,
)
from trackyard.cli.printing import tell
from trackyard.errors import TrackyardError
from trackyard.redact import redact_terminal, require_public

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a file system answers that is full or read-only, at whatever line of a command."""

app = typer.Typer(
    name="trackyard",
    help="Three foundation-model studies, one graph, one record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(catalog.app, name="catalog")
app.add_typer(data.app, name="data")
app.add_typer(mixture.app, name="mixture")
app.add_typer(plan.app, name="plan")
app.add_typer(feed.app, name="feed")
app.add_typer(record.app, name="record")
app.add_typer(lineage.app, name="lineage")
app.add_typer(publish.app, name="publish")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(image.app, name="image")
app.add_typer(site.app, name="site")
app.command("run")(run.run)
app.command("preflight")(preflight.preflight)
app.command("estimate")(estimate.estimate)
app.command("params")(params.params)
app.command("table")(table.table)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("ui")(ui.ui)
app.command("doctor")(doctor.doctor)
app.command("smoke")(smoke.smoke)
app.command("unlock")(unlock.unlock)
app.command("submit")(submit.submit)
app.command("status")(jobs.status)
app.command("logs")(jobs.logs)
app.command("cancel")(jobs.cancel)
app.command("retry")(jobs.retry)
app.command("work", hidden=True)(jobs.work)


def main() -> None:
    """Entry point: prints an error's three parts and ends with its exit code. Whatever is printed holds no secret."""
    redact_terminal()
    try:
        require_public(sys.argv[1:], fix="give it in the environment (HF_TOKEN, MLFLOW_TRACKING_URI, …), and revoke it")
        app()
    except TrackyardError as error:
        _end(error)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        _end(
            TrackyardError(
                what=str(error),
                why="nothing half written stays under its final name, and what was complete before is untouched",
                fix="free space or restore write access there, then run the same command again",
            )
        )


def _end(error: TrackyardError) -> None:
    tell(error)
    sys.exit(error.exit_code)

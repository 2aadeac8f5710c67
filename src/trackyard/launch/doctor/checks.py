"""All rows of the doctor, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from shutil import which

from trackyard.errors import EXIT_DONE, EXIT_ENVIRONMENT, EXIT_FAILED
from trackyard.launch.doctor import (
    accelerator,
    apptainer,
    clock,
    code,
    dvc_secrets,
    locking,
    network,
    packages,
    remote,
    scheduler,
    secrets,
    storing,
    tracking,
)
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.preflight import Check, Report, Row, Seen, run_checks

SCHEMA = "trackyard-doctor/1"
AT_ONCE = 16
"""Rows that are asked side by side; most of them wait for a program or a server."""


def diagnose(asked: Asked, progress: Callable[[Row], None] | None = None) -> Report:
    """Every row, also after one has failed."""
    return run_checks(checks(asked), progress=progress, at_once=AT_ONCE)


def exit_code(report: Report) -> int:
    """0 where nothing failed; 3 where all that failed is lacking in this environment; else 1."""
    codes = {row.exit_code for row in report.rows if row.state == "failed"}
    if not codes:
        return EXIT_DONE
    return EXIT_ENVIRONMENT if codes == {EXIT_ENVIRONMENT} else EXIT_FAILED


def checks(asked: Asked) -> tuple[Check, ...]:
    """Rows that do not apply are among them, and say why."""
    build, driver = cache(accelerator.torch_build), cache(accelerator.nvidia_driver)
    where = which("apptainer")

    def row(name: str, run: Callable[..., Seen], *arguments: object) -> Check:
        return Check(name=name, run=partial(run, *arguments))

    return (
        row("python", packages.python),
        row("packages", packages.dependencies, asked.root),
        Check(name="torch", run=lambda: accelerator.torch_row(build())),
        Check(name="driver", run=lambda: accelerator.driver_row(asked, build(), driver())),
        Check(name="compiler", run=lambda: accelerator.compiler_row(asked, driver(), asked.environment)),
        row("apptainer", apptainer.version, asked, where),
        row("squashfuse", apptainer.squashfuse, asked, where),
        row("fuse device", apptainer.fuse, asked, where),
        row("user namespaces", apptainer.user_namespaces, asked, where),
        row("subordinate ids", apptainer.subordinate_ids, asked, where),
        row("image", apptainer.image, asked),
        row("slurm", scheduler.slurm_row, asked),
        row("partitions", scheduler.partitions_row, asked),
        row("account", scheduler.account_row, asked),
        row("limits", scheduler.limits_row, asked),
        *(row(tool, scheduler.tool_row, asked, tool) for tool in scheduler.TOOLS),
        row("locks of runs", locking.runs_row, asked),
        row("locks of DVC", locking.dvc_row, asked),
        row("file system", storing.runs_row, asked),
        row("tracking database", storing.database_row, asked),
        row("space", storing.space_row, asked),
        row("scratch", storing.scratch_row, asked),
        row("network", network.network_row, asked),
        row("MLflow", tracking.tracking_row, asked),
        row("DVC remote", remote.remote_row, asked),
        row("DVC secrets", dvc_secrets.dvc_secrets_row, asked),
        row("git", code.code_row, asked),
        row("clock", clock.clock_row, asked),
        row("secrets", secrets.secrets_row, asked),
    )

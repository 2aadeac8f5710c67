"""`trackyard doctor`: what this machine, this checkout and a site are like, and the command that mends what is not."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

import typer

from trackyard.cli.printing import print_check, print_json
from trackyard.cli.root import repository_root
from trackyard.launch.preflight import Row

HERE = "local"
"""The site of a machine without one."""


def doctor(
    site: Annotated[str | None, typer.Option(help="a file of sites/; none: that of TRACKYARD_SITE, else local")] = None,
    stage: Annotated[str | None, typer.Option("--for", help="TRACK/STAGE whose space and access are compared")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the rows as JSON")] = False,
) -> None:
    """Look at everything that work can fail on here; exit 0: nothing failed, 3: the environment lacks it, else 1."""
    began = time.monotonic()
    # As the user has it: the chosen site sets the way of locking, and another site may be asked about.
    environment = dict(os.environ)
    root = repository_root()
    from trackyard.cli.wanted import wanted
    from trackyard.launch.chosen import chosen_site
    from trackyard.launch.doctor.asked import Asked
    from trackyard.launch.doctor.checks import SCHEMA, diagnose, exit_code
    from trackyard.launch.sites import load_site
    from trackyard.runner import SystemRunner

    found = load_site(site, root) if site else chosen_site(root) or load_site(HERE, root)
    asked = Asked(
        root=root,
        site=found,
        runner=SystemRunner(),
        environment=environment,
        wanted=None if stage is None else wanted(root, found, stage),
    )
    report = diagnose(asked, progress=None if as_json else print_check)
    code, seconds = exit_code(report), time.monotonic() - began
    totals = {state: report.count(state) for state in ("passed", "warned", "failed", "skipped")}
    if as_json:
        rows = [{name: getattr(row, name) for name in Row.__slots__} for row in report.rows]
        print_json(
            {"schema": SCHEMA, "site": found.name, "stage": stage, "exit_code": code, "totals": totals, "rows": rows}
        )
    else:
        counted = ", ".join(f"{count} {state}" for state, count in totals.items())
        print(f"site {found.name}: {len(report.rows)} rows in {seconds:.1f} s: {counted}")
    sys.exit(code)

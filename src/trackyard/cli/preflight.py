"""`trackyard preflight`: what would stop a stage, before an accelerator is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from trackyard.cli.printing import print_check, print_json
from trackyard.cli.root import repository_root
from trackyard.cli.table import STAGES
from trackyard.errors import ConfigError
from trackyard.launch.preflight import SCHEMA, Row


def preflight(
    stage: Annotated[str, typer.Argument(help="stage1, stage2 or stage3 of molmo2")],
    parameters: Annotated[Path, typer.Option("--params", help="parameter file")] = Path("params.yaml"),
    context_parallel: Annotated[
        int | None, typer.Option(min=1, help="ranks that share a sequence, instead of engine.context_degree")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the report as JSON")] = False,
) -> None:
    """Check names, shards, rates, budgets, degree, ids, labels and decoding of a stage; every failure is listed."""
    root = repository_root()
    if stage not in STAGES:
        raise ConfigError(
            what=f"no stage {stage!r}",
            why=f"the track molmo2 has {', '.join(STAGES)}",
            fix="trackyard preflight stage1",
        )
    from trackyard.catalog.entries import load_catalogue
    from trackyard.recipes.molmo2.parameters import load_molmo2
    from trackyard.recipes.molmo2.preflight import run_preflight

    report = run_preflight(
        load_molmo2(root / parameters),
        stage,  # type: ignore[arg-type]
        root,
        catalogue=load_catalogue(root / "catalog"),
        context_parallel=context_parallel,
        progress=None if as_json else print_check,
    )
    totals = {state: report.count(state) for state in ("passed", "failed", "skipped")}
    if as_json:
        rows = [{name: getattr(row, name) for name in Row.__slots__} for row in report.rows]
        print_json({"schema": SCHEMA, "stage": stage, "proved": report.ok, "totals": totals, "rows": rows})
    else:
        print(f"{len(report.rows)} checks: {', '.join(f'{count} {state}' for state, count in totals.items())}")
    sys.exit(0 if report.ok else 1)

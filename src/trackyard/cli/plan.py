"""`trackyard plan`: what a stage will train on, before it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trackyard.cli.root import repository_root
from trackyard.cli.table import STAGES
from trackyard.errors import ConfigError


def plan(
    stage: Annotated[str, typer.Argument(help="stage1, stage2 or stage3")],
    parameters: Annotated[Path, typer.Option("--params", help="parameter file")] = Path("params.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="the whole summary")] = False,
) -> None:
    """Build (or open) the plan of a Molmo2 stage and print its mixture, padding and totals."""
    root = repository_root()
    if stage not in STAGES:
        raise ConfigError(
            what=f"no stage {stage!r}", why=f"the track molmo2 has {', '.join(STAGES)}", fix="trackyard plan stage1"
        )
    from rich.console import Console
    from rich.table import Table

    from trackyard.plan.plan import describe
    from trackyard.recipes.molmo2.parameters import load_molmo2
    from trackyard.recipes.molmo2.prepare import prepare

    prepared = prepare(load_molmo2(root / parameters), stage, root)  # type: ignore[arg-type]
    found = prepared.plan
    if as_json:
        print(json.dumps({"fingerprint": found.fingerprint, "run_id": prepared.spec.run_id} | found.summary, indent=2))
        return
    table = Table(title=f"{stage}: plan {found.fingerprint[:12]}")
    for name in ("entry", "group", "rate %", "realised %", "tokens %", "rows", "epochs"):
        table.add_column(name, justify="left" if name in ("entry", "group") else "right")
    for entry in describe(found):
        table.add_row(
            entry["name"],
            entry["group"],
            f"{entry['rate']:.2%}"[:-1],
            f"{entry['row_share']:.2%}"[:-1],
            f"{entry['token_share']:.2%}"[:-1],
            f"{entry['rows_drawn']:,}",
            f"{entry['epochs']:.2f}",
        )
    console = Console()
    console.print(table)
    totals = found.summary["totals"]
    console.print(
        f"{totals['steps']:,} steps of {found.packs_per_step} packs, {totals['rows']:,} rows "
        f"({totals['rows_per_pack']:.1f} per pack), {totals['tokens']:,} tokens, {totals['visual_tokens']:,} visual, "
        f"{totals['padding_fraction']:.1%} padding"
    )
    for name, dataset in found.summary["datasets"].items():
        for reason, count in dataset["excluded"].items():
            console.print(f"left out: {count} rows of {name}: {reason}")
    for name in found.summary["missing"]:
        console.print(f"missing: {name}")

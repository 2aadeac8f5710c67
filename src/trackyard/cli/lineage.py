"""`trackyard lineage`: what a model was made from, proved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="From a model back to plan, data, code and parents.", no_args_is_help=True)


@app.command()
def verify(path: Annotated[Path, typer.Argument(help="an export or a run directory")]) -> None:
    """Re-hash every link that can be found; ends in proved, or stops at the first wrong link."""
    from trackyard.record.lineage import verify_lineage

    report = verify_lineage(path, repository=Path.cwd())
    for link in report.proved:
        print(f"proved    {link}")
    for link in report.unproved:
        print(f"unproved  {link}")
    print(f"{len(report.proved)} links proved, {len(report.unproved)} unproved, {report.hashed} files hashed")


@app.callback()
def _group() -> None:
    """Keep `verify` a subcommand."""

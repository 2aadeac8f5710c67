"""`trackyard report`: what came out of all tracks, on one page that opens without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    out: Annotated[Path, typer.Option(help="folder to write, below the repository")] = Path("report"),
    track: Annotated[list[str] | None, typer.Option(help="only this track; may be given again")] = None,
) -> None:
    """Write index.html, report.md with figures, metrics.json and runs.csv of the tracks that are there."""
    from trackyard.cli.root import repository_root
    from trackyard.recipes.overview.writing import write_present, write_report

    root = repository_root()
    if track:
        write_report(root, out, tracks=track, say=_say)
    else:
        write_present(root, out, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)

"""`trackyard compare`: which of two runs is better, and why; or all runs of a track in one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import print_json
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.recipes.comparison.comparing import Findings
    from trackyard.recipes.reporting.grid import Grid

RUNS = "runs"
WIDTH = 400
"""Characters of a line where the output is no terminal, at most."""


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="ids or their beginnings, track/stage/id, run directories, folders with lineage.json"),
    ] = None,
    track: Annotated[str | None, typer.Option("--track", help="all runs of molmo2, pile_ffn, datacomp or nine")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="of a track, only this stage")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="of a track; the first one ranks it; repeatable")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What differs between runs beside what came out, with tests in pairs where samples are stored."""
    root = repository_root()
    if bool(runs) == bool(track) or (runs and (stage or metrics)):
        given = {"--track": track, "--stage": stage, "--metric": ", ".join(metrics or ())}
        options = " ".join(f"{name} {value}" for name, value in given.items() if value)
        raise ConfigError(
            what=f"a comparison of the runs {', '.join(runs or ()) or '(none)'} with {options or 'no --track'}",
            why="a comparison is of the runs that are named, or of all runs of a track and the metrics asked for",
            fix="trackyard compare <run> <other run>, or trackyard compare --track <track> [--stage S] [--metric M]",
        )
    if track:
        _track(root, track, stage, metrics or [], as_json=as_json)
    else:
        _runs(root, runs or [], as_json=as_json)


def _track(root: Path, track: str, stage: str | None, metrics: list[str], *, as_json: bool) -> None:
    from trackyard.recipes.comparison.document import track_document
    from trackyard.recipes.comparison.grids import track_grid
    from trackyard.record.comparing.summary import read_summaries
    from trackyard.record.comparing.track_table import track_table

    table = track_table(read_summaries(root / RUNS, track), track, stage=stage, metrics=metrics)
    if as_json:
        print_json(track_document(table))
        return
    _print_grid(track_grid(table))
    print("± is the standard deviation over seeds; a value without it is of one run; ranks prove nothing by themselves")


def _runs(root: Path, names: list[str], *, as_json: bool) -> None:
    from trackyard.recipes.comparison.comparing import find
    from trackyard.recipes.comparison.document import comparison_document
    from trackyard.record.comparing.finding import find_runs
    from trackyard.record.comparing.summary import read_summary
    from trackyard.runner import SystemRunner

    findings = find([read_summary(path) for path in find_runs(names, root / RUNS)], root, SystemRunner())
    if as_json:
        print_json(comparison_document(findings))
    else:
        _print(findings)


def _print(findings: Findings) -> None:
    from trackyard.recipes.comparison.grids import comparison_grids

    comparison = findings.comparison
    if len(comparison.tracks) > 1:
        print(f"runs of {len(comparison.tracks)} tracks, {', '.join(comparison.tracks)}: only metrics of all are shown")
    for grid in comparison_grids(findings):
        _print_grid(grid)
    for history in findings.history:
        print(
            f"code {history.old[:12]} to {history.new[:12]}: " + (history.absent or f"{len(history.commits)} commits")
        )
        for line in history.commits:
            print(f"  {line}")
    for number, (run, lacks) in enumerate(zip(comparison.runs, findings.lacks, strict=True), start=1):
        for reason in lacks:
            print(f"run {number}: {reason}")
        if run.no_number:
            print(f"run {number}: the newest value is no number: {', '.join(run.no_number)}")
    for note in findings.pairing.notes:
        print(note)
    for verdict in findings.verdicts:
        who = f", run {verdict.run + 1} against 1" if len(comparison.runs) > 2 else ""
        print(f"{verdict.family}{who}: {verdict.text}")


def _print_grid(grid: Grid) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=grid.title, title_justify="left", box=SIMPLE)
    for number, name in enumerate(grid.header):
        shown.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in grid.rows:
        shown.add_row(*row)
    # A pipe has no width: what is written to a file is as wide as it needs to be.
    width = None if sys.stdout.isatty() else WIDTH
    Console(markup=False, emoji=False, highlight=False, width=width).print(shown)

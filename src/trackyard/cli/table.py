"""`trackyard table`: what the stages came to, untrained against trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.reporting.labelled import labelled_metrics
from trackyard.record.metrics_file import FILE

TRACK = "molmo2"
STAGES = ("stage1", "stage2", "stage3")
SCORES = {
    "counting": ("counting accuracy", ".1%"),
    "multiple_choice": ("multiple-choice accuracy", ".1%"),
    "pointing": ("pointing F1", ".3f"),
}
"""Title and form of each score of the validation."""
Metrics = Mapping[str, float]


def table(track: Annotated[str, typer.Argument(help=TRACK)] = TRACK) -> None:
    """Print every finished stage of a track, and the next command to type."""
    if track != TRACK:
        raise ConfigError(
            what=f"no table of {track!r}",
            why=f"it is of the stages of {TRACK}; the report has the results of every track",
            fix="trackyard report",
        )
    root = repository_root()
    found = [stage for stage in STAGES if _metrics_path(root, stage).is_file()]
    if not found:
        raise DataError(
            what=f"no stage of {TRACK} has a result in {root / 'artifacts'}",
            why="there is nothing to show",
            fix="make demo",
        )
    _print(root, found)


def print_stage(root: Path, stage: str) -> None:
    """The table of one stage, after it ran."""
    _print(root, [stage])


def _metrics_path(root: Path, stage: str) -> Path:
    return root / "artifacts" / TRACK / stage / FILE


def _print(root: Path, stages: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    found = {stage: labelled_metrics(_metrics_path(root, stage), stage, fix=f"dvc repro {stage}") for stage in stages}
    shown = Table(title=f"{TRACK}: at the start of each stage -> trained")
    shown.add_column("")
    for stage in stages:
        shown.add_column(stage, justify="right")
    for label, cells in _rows(list(found.values())):
        shown.add_row(label, *cells)
    console = Console(width=110)
    console.print(shown)
    # Validated on the same rows after every stage; one that was not scored says nothing.
    scored = {metric: of for metric in SCORES for of in found.values() if f"validation/{metric}" in of}
    chances = [
        f"{metric.replace('_', ' ')} {of[f'chance/validation/{metric}']:.3f} "
        f"({of[f'examples/validation/{metric}']:.0f} examples)"
        for metric, of in scored.items()
    ]
    console.print(f"by chance: {', '.join(chances)}")
    last = STAGES.index(stages[-1])
    following = f"dvc repro {STAGES[last + 1]}" if last + 1 < len(STAGES) else "make ui"
    console.print(f"next: {following}")


def _rows(found: list[Metrics]) -> Iterator[tuple[str, list[str]]]:
    """A label and a cell of every stage."""
    yield "steps", [f"{of['train/steps']:,.0f}" for of in found]
    yield "tokens", [f"{of['train/tokens']:,.0f}" for of in found]
    yield "padding", [f"{of['train/padding']:.1%}" for of in found]
    yield "training loss, first -> last", [f"{of['train/first_loss']:.3f} -> {of['train/loss']:.3f}" for of in found]
    yield "validation loss", [_moved(of, "loss", ".3f") for of in found]
    for metric, (label, form) in SCORES.items():
        yield label, [_moved(of, metric, form) for of in found]


def _moved(of: Metrics, measure: str, form: str) -> str:
    name = f"validation/{measure}"
    return f"{of[f'start/{name}']:{form}} -> {of[name]:{form}}" if name in of else "not measured"

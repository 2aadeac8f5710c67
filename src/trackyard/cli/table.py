"""`trackyard table`: what the stages came to, untrained against trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from trackyard.cli.root import repository_root
from trackyard.errors import DataError

STAGES = ("stage1", "stage2", "stage3")


def table(track: Annotated[str, typer.Argument(help="molmo2")] = "molmo2") -> None:
    """Print every finished stage of a track, and the next command to type."""
    root = repository_root()
    found = [stage for stage in STAGES if _metrics_path(root, track, stage).is_file()]
    if not found:
        raise DataError(
            what=f"no stage of {track} has a result in {root / 'artifacts'}",
            why="there is nothing to show",
            fix="make demo",
        )
    _print(root, track, found)


def print_stage(root: Path, stage: str) -> None:
    """The table of one stage, after it ran."""
    _print(root, "molmo2", [stage])


def _metrics_path(root: Path, track: str, stage: str) -> Path:
    return root / "artifacts" / track / stage / "metrics.json"


def _print(root: Path, track: str, stages: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    bodies: dict[str, Any] = {stage: json.loads(_metrics_path(root, track, stage).read_text()) for stage in stages}
    shown = Table(title=f"{track}: at the start of each stage -> trained")
    shown.add_column("")
    for stage in stages:
        shown.add_column(stage, justify="right")
    rows: list[tuple[str, Any]] = [
        ("steps", lambda body: f"{body['steps']:,}"),
        ("tokens", lambda body: f"{body['tokens']:,}"),
        ("padding", lambda body: f"{body['padding']:.1%}"),
        ("training loss, first -> last", lambda body: _arrow(body["loss"]["first"], body["loss"]["last"], ".3f")),
        ("validation loss", lambda body: _moments(body["validation"]["loss"], ".3f")),
        ("counting accuracy", lambda body: _score(body, "counting", ".1%")),
        ("multiple-choice accuracy", lambda body: _score(body, "multiple_choice", ".1%")),
        ("pointing F1", lambda body: _score(body, "pointing", ".3f")),
    ]
    for label, cell in rows:
        shown.add_row(label, *(cell(bodies[stage]) for stage in stages))
    console = Console(width=110)
    console.print(shown)
    scored = bodies[stages[0]]["validation"]
    chances = [
        f"{label} {scored[metric]['chance']:.3f} ({scored[metric]['examples']} examples)"
        for metric, label in (
            ("counting", "counting"),
            ("multiple_choice", "multiple choice"),
            ("pointing", "pointing"),
        )
        if metric in scored
    ]
    console.print(f"by chance: {', '.join(chances)}")
    last = STAGES.index(stages[-1])
    following = f"dvc repro {STAGES[last + 1]}" if last + 1 < len(STAGES) else "make ui"
    console.print(f"next: {following}")


def _moments(body: dict[str, float], form: str) -> str:
    return _arrow(body["start"], body["trained"], form)


def _score(body: dict[str, Any], metric: str, form: str) -> str:
    score = body["validation"].get(metric)
    return _moments(score, form) if score else "not measured"


def _arrow(start: float, trained: float, form: str) -> str:
    return f"{start:{form}} -> {trained:{form}}"

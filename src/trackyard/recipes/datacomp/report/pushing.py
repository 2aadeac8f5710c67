"""A final export to the hub: off by default, private, and only what a dry run of exactly these bytes has shown.

Source: theworld spec section 11.
"""

from __future__ import annotations

from collections.abc import Callable

from trackyard.errors import ConfigError
from trackyard.publish.push import PushPlan, plan_push, push
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report.card import CARD, card_path
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-datacomp-push/1"
EXPORTED = ("model.safetensors", "world_config.json")


def push_export(
    study: Study, cell: Cell, say: Callable[[str], None], *, dry_run: bool, endpoint: str | None = None
) -> None:
    """Show what would be uploaded of a cell, or upload what was shown. endpoint: of the hub, None for its own.

    ConfigError if datacomp.publish.repo names nothing, or without a dry run of the same bytes; else as `plan_push` and
    `push`.
    """
    repo = study.parameters.publish.repo
    if repo is None:
        raise ConfigError(
            what="datacomp.publish.repo is not set",
            why="nothing is published by default",
            fix="set datacomp.publish.repo: owner/name in params.yaml",
        )
    folder = study.export(cell)
    plan = plan_push({CARD: card_path(study, cell)} | {name: folder / name for name in EXPORTED}, repo)
    shown = study.runs / TRACK / "push" / f"{cell.label}.json"
    for file in plan.files:
        say(f"  {file.bytes:>15,}  {file.digest[:12]}  {file.name}")
    if dry_run:
        write_document(shown, SCHEMA, {"plan": plan.digest})
        say(f"push      {_words(plan)} would go to {repo}, private; nothing was sent. {_command(cell)} sends it")
        return
    fix = f"{_command(cell)} --dry-run"
    if not shown.is_file() or read_document(shown, SCHEMA, fix=fix).get("plan") != plan.digest:
        raise ConfigError(
            what=f"no dry run has shown these files of {cell.label} for {repo}",
            why="what was uploaded once is read by others: it is looked at first",
            fix=fix,
        )
    say(f"push      {_words(plan)} are at {repo}, commit {push(plan, endpoint=endpoint)}")


def _words(plan: PushPlan) -> str:
    return f"{len(plan.files)} files, {plan.bytes:,} bytes,"


def _command(cell: Cell) -> str:
    return f"trackyard run {TRACK} push {cell.label}"

"""The mixture of a plan as asked for and as realised."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.plan.mixture_figure import Bar, mixture_figure
from trackyard.recipes.overview.blocks import Block, Caveat, Folded, Picture, Table
from trackyard.recipes.reporting.grid import Grid

Entries = Sequence[Mapping[str, Any]]


def mixture_blocks(stage: str, summary: Mapping[str, Any]) -> Iterator[Block]:
    """summary: of plan.json (`plan.summary`)."""
    entries: Entries = summary["entries"]
    groups = list(dict.fromkeys(entry["group"] for entry in entries))
    if len(groups) > 1:
        yield Table(_groups(stage, entries, groups))
    yield _picture(stage, entries)
    if summary["missing"]:
        yield Caveat(
            f"{stage} lacks {', '.join(summary['missing'])} of the mixture of reference: the rates of the others are"
            f" higher for it (total variation {summary['total_variation']:.3f})."
        )
    yield Folded(f"{stage}: {len(entries)} entries as a table", (Table(_entries(stage, entries), frozenset({1})),))


def _groups(stage: str, entries: Entries, groups: Sequence[str]) -> Grid:
    def total(group: str, key: str) -> float:
        return sum(float(entry[key]) for entry in entries if entry["group"] == group)

    return Grid(
        title=f"{stage}: groups of the mixture",
        header=("group", "entries", "asked", "of rows", "of tokens"),
        rows=tuple(
            (
                group,
                str(sum(entry["group"] == group for entry in entries)),
                *(f"{total(group, key):.2%}" for key in ("rate", "row_share", "token_share")),
            )
            for group in groups
        ),
    )


def _entries(stage: str, entries: Entries) -> Grid:
    return Grid(
        title=f"{stage}: entries of the mixture",
        header=("entry", "group", "asked", "of rows", "of tokens", "rows drawn", "tokens", "of them visual", "epochs"),
        rows=tuple(
            (
                entry["name"],
                entry["group"],
                *(f"{entry[key]:.2%}" for key in ("rate", "row_share", "token_share")),
                *(f"{entry[key]:,}" for key in ("rows_drawn", "tokens", "visual_tokens")),
                f"{entry['epochs']:.2f}",
            )
            for entry in entries
        ),
    )


def _picture(stage: str, entries: Entries) -> Picture:
    bars = [
        Bar(
            name=entry["name"],
            group=entry["group"],
            reference_rate=entry["rate"],
            rate=entry["row_share"],
            epochs=entry["epochs"],
            tokens=entry["tokens"],
            visual_tokens=entry["visual_tokens"],
        )
        for entry in entries
    ]
    furthest = max(entries, key=lambda entry: abs(entry["row_share"] - entry["rate"]))
    off = abs(furthest["row_share"] - furthest["rate"])
    largest = max(entries, key=lambda entry: entry["token_share"])
    name = f"mixture-{stage}"
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}{ending}" for ending in (".svg", ".png")]
        for file in files:
            mixture_figure(bars, title=f"{stage}: mixture of the plan", max_epochs=None, out=file)
        return Picture(
            name=name,
            caption=f"{stage}: bars are the share of rows in the plan, ticks the rate that was asked for; then repeats,"
            f" and the share of tokens. The furthest from its rate is {furthest['name']}, by {off:.2%} of all rows.",
            alt=f"Mixture of {stage}: {len(entries)} entries; the most tokens are of {largest['name']},"
            f" {largest['token_share']:.1%}",
            svg=files[0].read_text(encoding="utf-8"),
            png=files[1].read_bytes(),
        )

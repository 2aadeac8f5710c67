"""How many of the listed pictures became samples, and what became of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trackyard.recipes.overview.blocks import Block, Folded, Picture, Table, Text
from trackyard.recipes.overview.drawn import drawn
from trackyard.recipes.reporting.drawing import make_plain, name_lines, new_figure
from trackyard.recipes.reporting.grid import Grid

KEPT = "#2f6fb5"


def funnel_blocks(alone: Mapping[str, Mapping[str, Any]]) -> Iterator[Block]:
    """alone: bodies of the results metadata, download and curate."""
    listed, fetched, curated = alone["metadata"], alone["download"], alone["curate"]
    steps = [
        ("listed rows", int(listed["rows"])),
        ("rows asked for", int(curated["attempted"])),
        ("addresses tried", int(fetched["attempted"])),
        ("pictures fetched", int(fetched["ok"])),
        ("pictures accepted", int(curated["outcomes"]["ok"])),
        ("samples trained on", int(curated["kept"])),
    ]
    yield Text(
        f"Of {fetched['attempted']:,} addresses {fetched['ok']:,} gave a picture ({fetched['acceptance']:.1%})."
        " A picture that also occurs in an evaluation set is removed before training"
        f" ({curated['removed'].get('eval_overlap', 0):,} were). Of what was accepted, as many are trained on as were"
        f" planned: {curated['surplus']:,} are left over."
    )
    yield _picture(steps)
    yield Table(
        Grid(
            title="acceptance, step by step",
            header=("step", "number", "of the step before", "of all listed"),
            rows=tuple(
                (
                    name,
                    f"{number:,}",
                    "-" if place == 0 else _share(number, steps[place - 1][1]),
                    _share(number, steps[0][1]),
                )
                for place, (name, number) in enumerate(steps)
            ),
        )
    )
    lost = {cause: number for cause, number in curated["outcomes"].items() if cause != "ok"}
    yield Folded(
        f"What became of {sum(lost.values()):,} rows that were not accepted",
        (
            Table(
                Grid(
                    title="rows that were not accepted, by cause",
                    header=("cause", "rows", "of all asked for"),
                    rows=tuple(
                        (cause, f"{number:,}", _share(number, curated["attempted"]))
                        for cause, number in sorted(lost.items(), key=lambda pair: (-pair[1], pair[0]))
                    ),
                )
            ),
        ),
    )


def _share(number: int, of: int) -> str:
    return f"{number / of:.1%}" if of else "-"


def _picture(steps: Sequence[tuple[str, int]]) -> Picture:
    figure = new_figure(8.5, 0.7 + 0.36 * len(steps))
    panel = figure.subplots()
    numbers = [number for _, number in steps]
    panel.barh(range(len(steps)), numbers, height=0.66, color=KEPT, zorder=2)
    for place, number in enumerate(numbers):
        panel.text(number + 0.01 * max(numbers), place, f"{number:,}", va="center", fontsize=9, zorder=4)
    name_lines(panel, [name for name, _ in steps])
    panel.set_xlim(0, 1.12 * max(numbers))
    panel.set_xlabel("rows", fontsize=9)
    make_plain(panel)
    told = ", ".join(f"{name} {number:,}" for name, number in steps)
    return drawn(
        figure, "datacomp-funnel", caption="How many rows are left after every step.", alt=f"Acceptance: {told}"
    )

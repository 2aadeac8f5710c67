"""The figures of a comparison: what every arm scores on every set, and how the trained runs learned. PNG and SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.recipes.datacomp.report.gathering import TRAIN, Gathered
from trackyard.recipes.datacomp.report.table import TITLES, Row
from trackyard.recipes.reporting.drawing import make_plain, name_lines, new_figure, put_legend, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "base_gemma": "#1b1b1b",
    "world": "#d1495b",
    "random_projection": "#8a939e",
    "zero_latents": "#2f6fb5",
    "shuffled_latents": "#6aa3d8",
    "no_world_tokens": "#5f6b7a",
    "soft_prompt": "#2a9d78",
}
"""Of arms; runs have that of the arm of their name."""
STYLES = ("-", "--", ":", "-.")
"""Of seeds, in turn."""


def draw_figures(rows: Sequence[Row], gathered: Gathered, directory: Path) -> list[tuple[str, str]]:
    """Write every figure; file name of its PNG, and caption, in the order of the report."""
    made = []
    for name, caption, figure in (
        (
            "accuracy",
            "Score of every arm on every set. Large: mean over seeds, with the 95 % interval over items; small: seeds;"
            " dashed: what guessing, or one constant answer, scores",
            _accuracy(rows),
        ),
        (
            "training",
            "Loss in training, nats per supervised token, by run and seed",
            _training({label: result.body["history"] for label, result in gathered.cells[TRAIN].items()}),
        ),
    ):
        save(figure, directory / name, caption)
        made.append((f"{name}.png", caption))
    return made


def _accuracy(rows: Sequence[Row]) -> Figure:
    sets = list(dict.fromkeys(row.set for row in rows))
    columns = min(2, len(sets))
    lines = math.ceil(len(sets) / columns)
    figure = new_figure(5.6 * columns, (0.9 + 0.3 * len(rows) / len(sets)) * lines)
    panels = [panel for line in figure.subplots(lines, columns, squeeze=False) for panel in line]
    for panel in panels[len(sets) :]:
        panel.set_axis_off()
    for panel, name in zip(panels, sets, strict=False):
        here = [row for row in rows if row.set == name]
        for line, row in enumerate(here):
            colour = COLOURS[row.arm]
            panel.plot([row.ci95.low, row.ci95.high], [line, line], color=colour, linewidth=1.8, zorder=3)
            panel.scatter(list(row.scores.values()), [line] * len(row.scores), s=12, color=colour, alpha=0.6, zorder=3)
            panel.scatter([row.score], [line], s=46, color=colour, zorder=4)
        chance = here[0].chance
        if chance is not None:
            panel.axvline(chance, color="black", linestyle="--", linewidth=1, zorder=2)
        name_lines(panel, [row.arm for row in here])
        panel.set_xlim(-0.02, 1.02)
        panel.set_title(f"{TITLES[name]}: {here[0].metric}, {here[0].items:,} items", fontsize=10, loc="left")
        make_plain(panel)
    return figure


def _training(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    figure = new_figure(8.5, 3.8)
    panel = figure.subplots()
    seeds: dict[str, int] = {}
    for label, history in histories.items():
        run = label.rpartition("-")[0]
        style = STYLES[seeds.setdefault(run, 0) % len(STYLES)]
        seeds[run] += 1
        points = [(row["step"], row["train_nll"]) for row in history]
        panel.plot(*zip(*points, strict=True), color=COLOURS[run], linestyle=style, linewidth=1.3, label=label)
    panel.set_xlabel("step", fontsize=9)
    panel.set_ylabel("nats per supervised token", fontsize=9)
    panel.set_ylim(bottom=0)
    make_plain(panel)
    put_legend(figure, panel)
    return figure

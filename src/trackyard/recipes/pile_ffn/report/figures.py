"""The figures of a study: what an arm costs against how hard it is to attack, and where. PNG and SVG.

An arm has one colour in all of them. Source: pile-ffn spec sections 8.4 and 10, issue on the Pile-FFN track.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackyard.recipes.pile_ffn.report.claims import PRIMARY
from trackyard.recipes.pile_ffn.report.grids import SHORT
from trackyard.recipes.pile_ffn.report.rows import ArmRow, OverSeeds
from trackyard.recipes.reporting.drawing import beside, make_plain, name_lines, new_figure, put_legend, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTES = {
    "untouched": ("#1b1b1b",),
    "baseline": ("#2f6fb5",),
    "nonneg": ("#d1495b", "#e8833a", "#b5367f", "#8c2f39", "#f0a35e"),
    "signfrozen": ("#2a9d78", "#1f6f5c"),
    "absinit": ("#7a5ea8", "#a48bd0"),
    "degraded": ("#8a939e", "#b3bac2"),
}
"""By kind of arm, so that the treatment is warm everywhere and controls are not; then by place among its kind."""
CONTROLS = {"uat": "random_trigger", "hotflip_greedy": "random_flips"}
ROW_INCHES = 0.3


def draw_figures(rows: Sequence[ArmRow], directory: Path) -> list[tuple[str, str]]:
    """Write every figure; file name of its PNG, and caption, in the order of the report."""
    colours = _colours(rows)
    made = []
    for name, caption, figure in (
        (
            "robustness",
            "Perplexity against the rise of the loss under attack: the better arm is further down and to the left."
            " Large: mean over seeds, with the 95 % interval over documents; small: seeds; hollow: the random control",
            _robustness(rows, colours),
        ),
        ("components", "Perplexity by kind of text; large: mean over seeds, small: seeds", _components(rows, colours)),
        (
            "benchmarks",
            "Benchmark accuracy; dashed: by chance; small: seeds, with one standard error over items",
            _benchmarks(rows, colours),
        ),
        (
            "order",
            "By layer: share of directions along which the stronger sentence lies further (dashed: random directions;"
            " thin: seeds), and share of outputs of the feed-forward part that do not fall when its input rises."
            " A description, no proof of order",
            _order(rows, colours),
        ),
    ):
        save(figure, directory / name, caption)
        made.append((f"{name}.png", caption))
    return made


def _robustness(rows: Sequence[ArmRow], colours: dict[str, str]) -> Figure:
    figure = new_figure(11.5, 5.2)
    panels = figure.subplots(1, len(PRIMARY), squeeze=False)[0]
    for panel, attack in zip(panels, PRIMARY, strict=True):
        for row in rows:
            colour, found = colours[row.arm], row.attacks[attack]
            ppl, rise = row.ppl.mean, found.delta_nats.mean
            if found.ci95 is not None:
                panel.plot([ppl, ppl], [found.ci95.low, found.ci95.high], color=colour, linewidth=1.6, zorder=3)
            panel.scatter([ppl], [rise], s=70, color=colour, zorder=4, label=row.arm)
            seeds = [row.ppl.cells[cell] for cell in row.cells]
            rises = [found.delta_nats.cells[cell] for cell in row.cells]
            panel.scatter(seeds, rises, s=16, color=colour, alpha=0.6, zorder=3)
            control = row.attacks[CONTROLS[attack]].delta_nats.mean
            panel.scatter([ppl], [control], s=36, facecolors="white", edgecolors=colour, linewidths=1.2, zorder=3)
        panel.axhline(0, color="black", linewidth=0.8, zorder=1)
        panel.set_title(f"{SHORT[attack]}  (hollow: {SHORT[CONTROLS[attack]]})", fontsize=10, loc="left")
        _logarithmic(panel, "perplexity on held-out documents (log scale)")
        panel.set_ylabel("mean rise of the loss, nats per token", fontsize=9)
        make_plain(panel)
    put_legend(figure, panels[0])
    return figure


def _components(rows: Sequence[ArmRow], colours: dict[str, str]) -> Figure:
    names = list(rows[0].by_component)
    figure = new_figure(9.5, 1.6 + 0.62 * len(names))
    panel = figure.subplots()
    for number, row in enumerate(rows):
        for line, name in enumerate(names):
            _dots(panel, row.by_component[name], beside(line, number, len(rows)), colours[row.arm], row.arm, line)
    name_lines(panel, names)
    _logarithmic(panel, "perplexity (log scale)")
    make_plain(panel)
    put_legend(figure, panel)
    return figure


def _benchmarks(rows: Sequence[ArmRow], colours: dict[str, str]) -> Figure:
    tasks = list(rows[0].benchmarks)
    figure = new_figure(9.5, 1.6 + 0.62 * max(len(tasks), 1))
    panel = figure.subplots()
    for line, name in enumerate(tasks):
        for number, row in enumerate(rows):
            task, y = row.benchmarks[name], beside(line, number, len(rows))
            _dots(panel, task.score, y, colours[row.arm], row.arm, line)
            for cell, value in task.score.cells.items():
                error = task.stderr[cell] or 0.0
                panel.plot([value - error, value + error], [y, y], color=colours[row.arm], linewidth=0.7, alpha=0.6)
        chance = rows[0].benchmarks[name].chance
        if chance is not None:
            panel.plot([chance, chance], [line - 0.46, line + 0.46], color="black", linestyle="--", linewidth=1)
    name_lines(panel, [f"{name}\n({rows[0].benchmarks[name].metric})" for name in tasks])
    panel.set_xlim(-0.02, 1.02)
    panel.set_xlabel("accuracy", fontsize=9)
    make_plain(panel)
    put_legend(figure, panel)
    return figure


def _order(rows: Sequence[ArmRow], colours: dict[str, str]) -> Figure:
    figure = new_figure(11.5, 4.6)
    probes, direct = figure.subplots(1, 2)
    thick: dict[str, Any] = {"linewidth": 1.8, "marker": "o", "markersize": 4.5, "zorder": 3}
    for row in rows:
        layers, order, colour = row.order.layers, row.order, colours[row.arm]
        for scores in order.cells.values():
            probes.plot(layers, scores, color=colour, linewidth=0.7, alpha=0.4, zorder=2)
        probes.plot(layers, order.random, color=colour, linewidth=1, linestyle="--", alpha=0.7, zorder=2)
        probes.plot(layers, order.score, color=colour, label=row.arm, **thick)
        direct.plot(layers, order.ffn_direct, color=colour, **thick)
    probes.axhline(0.5, color="black", linewidth=0.8, zorder=1)
    probes.set_title("graded sentences, last token (dashed: random directions)", fontsize=10, loc="left")
    probes.set_ylabel("share of directions in order", fontsize=9)
    direct.set_title("feed-forward part without its residual path, input raised", fontsize=10, loc="left")
    direct.set_ylabel("share of output coordinates that do not fall", fontsize=9)
    for panel in (probes, direct):
        panel.xaxis.set_major_locator(_whole_numbers())
        panel.set_xlabel("layer", fontsize=9)
        make_plain(panel)
    put_legend(figure, probes)
    return figure


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=12, integer=True, min_n_ticks=1)


def _dots(panel: Axes, numbers: OverSeeds, y: float, colour: str, label: str, line: int) -> None:
    """Seeds small, their mean large; named once."""
    panel.scatter(list(numbers.cells.values()), [y] * len(numbers.cells), s=12, color=colour, alpha=0.6, zorder=3)
    panel.scatter([numbers.mean], [y], s=42, color=colour, zorder=4, label=label if line == 0 else None)


def _logarithmic(panel: Axes, label: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_xscale("log")
    panel.margins(x=0.12)
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(label, fontsize=9)


def _colours(rows: Sequence[ArmRow]) -> dict[str, str]:
    met: dict[str, int] = {}
    colours = {}
    for row in rows:
        kind = row.arm if row.variant is None else row.arm.removesuffix(f"_{row.variant}")
        palette = PALETTES[kind]
        colours[row.arm] = palette[met.get(kind, 0) % len(palette)]
        met[kind] = met.get(kind, 0) + 1
    return colours

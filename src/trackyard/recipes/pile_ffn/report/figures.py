"""The figures of a study: what an arm costs against how hard it is to attack, and where. PNG and SVG.

An arm has one colour in all of them. Source: pile-ffn spec sections 8.4 and 10, issue on the Pile-FFN track.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackyard.recipes.pile_ffn.report.claims import PRIMARY
from trackyard.recipes.pile_ffn.report.grids import SHORT
from trackyard.recipes.pile_ffn.report.rows import ArmRow, OverSeeds

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
GRID, FAINT = "#d9dce1", "#5f6b7a"
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
        _save(figure, directory / name, caption)
        made.append((f"{name}.png", caption))
    return made


def _robustness(rows: Sequence[ArmRow], colours: dict[str, str]) -> Figure:
    figure = _figure(11.5, 5.2)
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
        _plain(panel)
    _legend(figure, panels[0])
    return figure


def _components(rows: Sequence[ArmRow], colours: dict[str, str]) -> Figure:
    names = list(rows[0].by_component)
    figure = _figure(9.5, 1.6 + 0.62 * len(names))
    panel = figure.subplots()
    for number, row in enumerate(rows):
        for line, name in enumerate(names):
            _dots(panel, row.by_component[name], _beside(line, number, len(rows)), colours[row.arm], row.arm, line)
    _named_lines(panel, names)
    _logarithmic(panel, "perplexity (log scale)")
    _plain(panel)
    _legend(figure, panel)
    return figure


def _benchmarks(rows: Sequence[ArmRow], colours: dict[str, str]) -> Figure:
    tasks = list(rows[0].benchmarks)
    figure = _figure(9.5, 1.6 + 0.62 * max(len(tasks), 1))
    panel = figure.subplots()
    for line, name in enumerate(tasks):
        for number, row in enumerate(rows):
            task, y = row.benchmarks[name], _beside(line, number, len(rows))
            _dots(panel, task.score, y, colours[row.arm], row.arm, line)
            for cell, value in task.score.cells.items():
                error = task.stderr[cell] or 0.0
                panel.plot([value - error, value + error], [y, y], color=colours[row.arm], linewidth=0.7, alpha=0.6)
        chance = rows[0].benchmarks[name].chance
        if chance is not None:
            panel.plot([chance, chance], [line - 0.46, line + 0.46], color="black", linestyle="--", linewidth=1)
    _named_lines(panel, [f"{name}\n({rows[0].benchmarks[name].metric})" for name in tasks])
    panel.set_xlim(-0.02, 1.02)
    panel.set_xlabel("accuracy", fontsize=9)
    _plain(panel)
    _legend(figure, panel)
    return figure


def _order(rows: Sequence[ArmRow], colours: dict[str, str]) -> Figure:
    figure = _figure(11.5, 4.6)
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
        _plain(panel)
    _legend(figure, probes)
    return figure


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=12, integer=True, min_n_ticks=1)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _dots(panel: Axes, numbers: OverSeeds, y: float, colour: str, label: str, line: int) -> None:
    """Seeds small, their mean large; named once."""
    panel.scatter(list(numbers.cells.values()), [y] * len(numbers.cells), s=12, color=colour, alpha=0.6, zorder=3)
    panel.scatter([numbers.mean], [y], s=42, color=colour, zorder=4, label=label if line == 0 else None)


def _beside(line: int, number: int, count: int) -> float:
    """Height of an arm among the arms of a line."""
    return line + 0.7 * ((number + 0.5) / count - 0.5)


def _named_lines(panel: Axes, names: Sequence[str]) -> None:
    for line in range(0, len(names), 2):
        panel.axhspan(line - 0.5, line + 0.5, color="#f2f3f5", zorder=0, linewidth=0)
    panel.set_yticks(range(len(names)), names, fontsize=9)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)


def _logarithmic(panel: Axes, label: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_xscale("log")
    panel.margins(x=0.12)
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(label, fontsize=9)


def _plain(panel: Axes) -> None:
    panel.grid(visible=True, color=GRID, linewidth=0.6, zorder=0)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8.5, colors=FAINT)
    panel.tick_params(axis="y", labelcolor="black")


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=8.5, frameon=False)


def _colours(rows: Sequence[ArmRow]) -> dict[str, str]:
    met: dict[str, int] = {}
    colours = {}
    for row in rows:
        kind = row.arm if row.variant is None else row.arm.removesuffix(f"_{row.variant}")
        palette = PALETTES[kind]
        colours[row.arm] = palette[met.get(kind, 0) % len(palette)]
        met[kind] = met.get(kind, 0) + 1
    return colours


def _save(figure: Figure, path: Path, title: str) -> None:
    """PNG and SVG. Text stays text in an SVG, and the same study gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _stable(title):
        figure.savefig(path.with_suffix(".png"))
        figure.set_layout_engine("none")  # it is laid out; the second picture has the places of the first
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


@contextmanager
def _stable(title: str) -> Iterator[Any]:
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        yield

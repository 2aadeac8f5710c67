"""Figures of studies by matplotlib, imported when the first one is drawn. The same study gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID, FAINT = "#d9dce1", "#5f6b7a"


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def beside(line: int, number: int, count: int) -> float:
    """Height of an arm among the arms of a line."""
    return line + 0.7 * ((number + 0.5) / count - 0.5)


def name_lines(panel: Axes, names: Sequence[str]) -> None:
    for line in range(0, len(names), 2):
        panel.axhspan(line - 0.5, line + 0.5, color="#f2f3f5", zorder=0, linewidth=0)
    panel.set_yticks(range(len(names)), names, fontsize=9)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)


def make_plain(panel: Axes) -> None:
    panel.grid(visible=True, color=GRID, linewidth=0.6, zorder=0)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8.5, colors=FAINT)
    panel.tick_params(axis="y", labelcolor="black")


def put_legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=8.5, frameon=False)


def save(figure: Figure, path: Path, title: str) -> None:
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

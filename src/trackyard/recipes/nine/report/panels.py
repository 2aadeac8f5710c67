"""One panel of a figure: the configurations of a data set by one part of the time, with their frontier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Literal

from trackyard.evaluate.frontier import Frontier, FrontierPoint
from trackyard.recipes.nine.report.frontiers import climbs, steps
from trackyard.recipes.nine.report.marks import Marks
from trackyard.recipes.nine.report.measured import Measurement
from trackyard.recipes.nine.report.pairs import Pairs
from trackyard.recipes.reporting.drawing import make_plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

LINE, BARS, CHANCE, KEY = "#1d2025", "#b4bac3", "#b3261e", "#6b7280"
ROOM = 0.06
"""Free share of the panel around what is drawn."""


def draw_panel(
    panel: Axes,
    frontier: Frontier,
    results: Mapping[str, Measurement],
    pairs: Pairs,
    marks: Marks,
    *,
    chance: float | None,
) -> None:
    """Draw every point. In an SVG they are the shapes of the groups named points-<data set>-<x>-…"""
    _draw_steps(panel, frontier, pairs)
    # Few blocks last: they are small, and would vanish under the large ones.
    for depth, experts in product(marks.depths[::-1] or (None,), marks.experts or (None,)):
        place = (depth, experts)
        here = [point for point in frontier.points if _place(results[point.key]) == place]
        if here:
            drawn = panel.scatter(
                [point.x for point in here],
                [point.y for point in here],
                s=marks.diameter(depth) ** 2,
                c=[marks.colour(results[point.key].configuration.visual) for point in here],
                marker=marks.marker(experts)[0],
                edgecolors=[LINE if point.on_frontier else "white" for point in here],
                linewidths=[1.2 if point.on_frontier else 0.6 for point in here],
                zorder=4,
            )
            drawn.set_gid(f"points-{frontier.dataset}-{frontier.x}-{experts}-{depth}")
    _mark_repeats(panel, frontier.points)
    if chance is not None:
        panel.axhline(chance, color=CHANCE, linestyle=":", linewidth=1.3, zorder=1)
    _limit(panel, frontier.points, chance)
    panel.locator_params(nbins=6)
    make_plain(panel)


def legend_handles(marks: Marks, words: Mapping[int, str], *, chance: bool) -> list[Line2D]:
    """What colours, markers, sizes and lines mean. words: for the levels of the visual knob."""
    from matplotlib.lines import Line2D

    def dot(label: str, *, marker: str = "o", size: float = 8.5, colour: str = KEY) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=marker, markersize=size, color=colour, markeredgecolor="white", label=label
        )

    def line(label: str, style: Literal["-", "--", ":"], colour: str) -> Line2D:
        return Line2D([], [], linestyle=style, linewidth=1.4, color=colour, label=label)

    return [
        *(dot(words[level], colour=marks.colour(level)) for level in marks.visual),
        *(dot(f"{level} experts", marker=marks.marker(level)[0]) for level in marks.experts),
        *(dot(f"{depth} blocks", size=marks.diameter(depth)) for depth in marks.depths),
        line("frontier", "-", LINE),
        line("… a tie", "--", LINE),
        line("… 95 %", "-", BARS),
        *([line("chance", ":", CHANCE)] if chance else []),
    ]


def _place(result: Measurement) -> tuple[int | None, int | None]:
    return result.configuration.depth, result.configuration.experts


def _draw_steps(panel: Axes, frontier: Frontier, pairs: Pairs) -> None:
    """A step that nothing shows to be one is dashed."""
    on = steps(frontier)
    panel.hlines([p.y for p in on], [p.x_lo for p in on], [p.x_hi for p in on], color=BARS, linewidth=2.6, zorder=2)
    panel.vlines([p.x for p in on], [p.y_lo for p in on], [p.y_hi for p in on], color=BARS, linewidth=1.6, zorder=2)
    for left, right in climbs(frontier):
        style = "--" if pairs.tied(frontier.dataset, left.key, right.key) else "-"
        panel.plot([left.x, right.x, right.x], [left.y, left.y, right.y], style, color=LINE, linewidth=1.2, zorder=3)


def _mark_repeats(panel: Axes, points: Sequence[FrontierPoint]) -> None:
    """How many configurations lie on exactly one place, where it is more than one."""
    for (x, y), count in Counter((point.x, point.y) for point in points).items():
        if count > 1:
            panel.annotate(
                f"{count}x",
                (x, y),
                xytext=(6, 5),
                textcoords="offset points",
                fontsize=8.5,
                color=LINE,
                zorder=5,
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )


def _limit(panel: Axes, points: Sequence[FrontierPoint], chance: float | None) -> None:
    """Everything that is drawn lies inside, with room around. Bars are drawn on the frontier only."""
    on = [point for point in points if point.on_frontier]
    across = [*(p.x for p in points), *(p.x_lo for p in on), *(p.x_hi for p in on)]
    up = [*(p.y for p in points), *(p.y_lo for p in on), *(p.y_hi for p in on), *([] if chance is None else [chance])]
    for values, limit in ((across, panel.set_xlim), (up, panel.set_ylim)):
        low, high = min(values), max(values)
        room = ROOM * ((high - low) or abs(high) or 1.0)
        limit(low - room, high + room)

"""Panels of a page as plotly's layout: their grid, axes, and the lines of guessing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trackyard.recipes.nine.report.figures import COLUMNS
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.panels import CHANCE, LINE


def layout_of(panels: int, *, height: int) -> dict[str, Any]:
    """Of a page with so many panels, `height` pixels high."""
    columns = min(COLUMNS, panels)
    return {
        "height": height, "template": {}, "hovermode": "closest", "dragmode": "zoom",
        "grid": {
            "rows": math.ceil(panels / columns), "columns": columns, "pattern": "independent", "xgap": 0.16,
            "ygap": 0.3,
        },
        "margin": {"l": 62, "r": 16, "t": 62, "b": 110},
        # Clicking on an entry would hide nothing: it stands for points that are part of others.
        "legend": {
            "orientation": "h", "x": 0, "y": 0.01, "yanchor": "bottom", "yref": "container", "itemclick": False,
            "itemdoubleclick": False, "font": {"size": 13},
        },
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "bordercolor": LINE, "font": {"color": LINE, "size": 13}},
        "font": {"size": 13, "color": LINE},
    }  # fmt: skip


def axis_name(letter: str, number: int, *, short: bool = False) -> str:
    """Of panel `number`: x, x2, x3 of a trace; xaxis, xaxis2 of the layout."""
    return f"{letter}{'' if short else 'axis'}{number + 1 if number else ''}"


def name_axes(layout: dict[str, Any], number: int, x: str, y: str) -> None:
    """Add the axes of panel `number`, with what they show."""
    look = {"gridcolor": "#d9dce1", "zeroline": False, "linecolor": LINE, "ticks": "outside", "automargin": True}
    layout[axis_name("x", number)] = look | {"title": {"text": x, "standoff": 8}}
    layout[axis_name("y", number)] = look | {"title": {"text": y, "standoff": 6}}


def chance_lines(gathered: Gathered, datasets: Sequence[str]) -> list[dict[str, Any]]:
    """Dotted lines of guessing, by panel."""
    return [
        {
            "type": "line", "xref": f"{axis_name('x', number, short=True)} domain",
            "yref": axis_name("y", number, short=True),
            "x0": 0, "x1": 1, "y0": chance, "y1": chance, "line": {"color": CHANCE, "width": 1.5, "dash": "dot"},
        }
        for number, name in enumerate(datasets)
        if (chance := gathered.tasks[name].chance) is not None
    ]  # fmt: skip

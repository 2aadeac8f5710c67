"""The same figures as pages: hovering over a point shows its whole configuration. They need no network.

All pages share the one plotly.min.js that lies beside them. Source: nine-datasets spec section 9.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from trackyard.durable import write_atomic
from trackyard.evaluate.frontier import Frontier
from trackyard.recipes.nine.report.figures import COLUMNS, MEANT, answered, conditions, visual_words
from trackyard.recipes.nine.report.frontiers import AXES, Axis, Frontiers, climbs, steps
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.hover import hover
from trackyard.recipes.nine.report.marks import Marks
from trackyard.recipes.nine.report.page_layout import axis_name, chance_lines, layout_of, name_axes
from trackyard.recipes.nine.report.pairs import Pairs
from trackyard.recipes.nine.report.panels import BARS, LINE

FOLDER = "pages"
LIBRARY = "plotly.min.js"
ALL = "all"
SCALE = 1.35
"""Pixels of a page per point of a figure."""
_STYLE = (
    "body{font:15px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;margin:16px 22px;color:#1d2025}"
    "h1{font-size:20px;margin:0 0 4px}p{margin:2px 0;color:#5f6b7a}nav{margin:10px 0}nav a{margin-right:14px}"
    ".partial{color:#b3261e;font-weight:600}"
)


def write_pages(gathered: Gathered, found: Frontiers, pairs: Pairs, folder: Path) -> dict[str, str]:
    """Write every page below `folder`; what it shows by its path relative to `folder`."""
    from plotly.offline import get_plotlyjs

    marks = Marks.of(gathered.all)
    links = {ALL: "all data sets"} | {name: gathered.tasks[name].heading for name in found}
    write_atomic(folder / FOLDER / LIBRARY, get_plotlyjs())
    made = {}
    for name, words in links.items():
        if name == ALL:
            figure, said = all_figure(gathered, found, pairs, marks), f"{len(gathered.sweep.keys)} configurations"
            watermark = gathered.watermark
        else:
            results = list(gathered.results[name].values())
            figure, said = task_figure(gathered, found[name], pairs, marks), answered(results)
            watermark = gathered.watermarks[name]
        page = _page(name, f"{words}: {said}", conditions(gathered), watermark, links, figure)
        write_atomic(folder / FOLDER / f"{name}.html", page)
        made[f"{FOLDER}/{name}.html"] = words
    return made


def task_figure(gathered: Gathered, by_axis: Mapping[Axis, Frontier], pairs: Pairs, marks: Marks) -> dict[str, Any]:
    """One data set, a panel per axis, as plotly's JSON."""
    name = by_axis[AXES[0]].dataset
    results = gathered.results[name]
    layout = layout_of(len(AXES), height=560)
    traces = []
    for number, axis in enumerate(AXES):
        traces += _traces(gathered, by_axis[axis], pairs, marks, number)
        name_axes(layout, number, MEANT[axis], gathered.tasks[name].metric_words)
    layout["shapes"] = chance_lines(gathered, [name] * len(AXES))
    return {"data": [*_key(marks, visual_words(marks, list(results.values()))), *traces], "layout": layout}


def all_figure(gathered: Gathered, found: Frontiers, pairs: Pairs, marks: Marks) -> dict[str, Any]:
    """All data sets, a panel each, with buttons for the axis, as plotly's JSON."""
    lines = math.ceil(len(found) / COLUMNS)
    layout = layout_of(len(found), height=360 * lines + 170)
    key = _key(marks, {level: f"visual {level}" for level in marks.visual})
    traces, shown = list(key), {axis: [True] * len(key) for axis in AXES}
    for axis in AXES:
        for number, by_axis in enumerate(found.values()):
            drawn = _traces(gathered, by_axis[axis], pairs, marks, number)
            traces += [trace | {"visible": axis == AXES[0]} for trace in drawn]
            for other in AXES:
                shown[other] += [other == axis] * len(drawn)
    for number, name in enumerate(found):
        name_axes(layout, number, MEANT[AXES[0]], gathered.tasks[name].metric_words)
    layout["shapes"] = chance_lines(gathered, list(found))
    layout["annotations"] = [
        {
            "text": f"<b>{escape(gathered.tasks[name].heading)}</b>", "showarrow": False, "xanchor": "left",
            "yanchor": "bottom", "x": 0, "y": 1.01, "xref": f"x{number + 1} domain".replace("x1 ", "x "),
            "yref": f"y{number + 1} domain".replace("y1 ", "y "), "font": {"size": 15},
        }
        for number, name in enumerate(found)
    ]  # fmt: skip
    layout["updatemenus"] = [
        {
            "type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1 + 50 / (360 * lines),
            "yanchor": "bottom", "active": 0,
            "buttons": [
                {
                    "label": axis, "method": "update",
                    "args": [
                        {"visible": shown[axis]},
                        {f"{axis_name('x', number)}.title.text": MEANT[axis] for number in range(len(found))},
                    ],
                }
                for axis in AXES
            ],
        }
    ]  # fmt: skip
    return {"data": traces, "layout": layout}


def _traces(gathered: Gathered, frontier: Frontier, pairs: Pairs, marks: Marks, panel: int) -> list[dict[str, Any]]:
    results = gathered.results[frontier.dataset]
    place = {
        "xaxis": axis_name("x", panel, short=True),
        "yaxis": axis_name("y", panel, short=True),
        "showlegend": False,
    }
    on = steps(frontier)
    bars = place | {
        "type": "scatter", "mode": "markers", "marker": {"size": 1, "color": BARS}, "hoverinfo": "skip",
        "x": [point.x for point in on], "y": [point.y for point in on],
        "error_x": _bars([p.x_hi - p.x for p in on], [p.x - p.x_lo for p in on]),
        "error_y": _bars([p.y_hi - p.y for p in on], [p.y - p.y_lo for p in on]),
    }  # fmt: skip
    lines = [
        place | {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "x": x, "y": y,
                 "line": {"color": LINE, "width": 1.5, "dash": dash}}
        for dash, tied in (("solid", False), ("dash", True))
        for x, y in [_steps(frontier, pairs, tied=tied)]
    ]  # fmt: skip
    drawn = [(point, results[point.key]) for point in frontier.points]
    # Small ones last, so that large ones do not hide them.
    drawn.sort(key=lambda pair: -marks.diameter(pair[1].configuration.depth))
    texts = hover(gathered.tasks[frontier.dataset], results, frontier)
    points = place | {
        "type": "scatter", "mode": "markers", "name": frontier.dataset,
        "x": [point.x for point, _ in drawn], "y": [point.y for point, _ in drawn],
        "customdata": [point.key for point, _ in drawn],
        "hovertext": [texts[point.key] for point, _ in drawn], "hoverinfo": "text",
        "marker": {
            "opacity": 1,
            "color": [marks.colour(result.configuration.visual) for _, result in drawn],
            "symbol": [marks.marker(result.configuration.experts)[1] for _, result in drawn],
            "size": [SCALE * marks.diameter(result.configuration.depth) for _, result in drawn],
            "line": {
                "width": [1.6 if point.on_frontier else 0.6 for point, _ in drawn],
                "color": [LINE if point.on_frontier else "#ffffff" for point, _ in drawn],
            },
        },
    }  # fmt: skip
    return [bars, *lines, points]


def _steps(frontier: Frontier, pairs: Pairs, *, tied: bool) -> tuple[list[float | None], list[float | None]]:
    """Corners of the steps that are ties, or of the others, with a gap after each."""
    across: list[float | None] = []
    up: list[float | None] = []
    for left, right in climbs(frontier):
        if pairs.tied(frontier.dataset, left.key, right.key) is tied:
            across += [left.x, right.x, right.x, None]
            up += [left.y, left.y, right.y, None]
    return across, up


def _bars(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "array": list(above), "arrayminus": list(below),
        "color": BARS, "thickness": 1.8, "width": 0,
    }  # fmt: skip


def _key(marks: Marks, words: Mapping[int, str]) -> list[dict[str, Any]]:
    """What colours, markers and sizes mean, as entries of the legend without points."""

    def entry(name: str, **marker: Any) -> dict[str, Any]:
        return {
            "type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": name, "hoverinfo": "skip",
            "marker": {"color": "#6b7280", "size": 11} | marker,
        }  # fmt: skip

    return [
        *(entry(words[level], color=marks.colour(level)) for level in marks.visual),
        *(entry(f"{level} experts", symbol=marks.marker(level)[1]) for level in marks.experts),
        *(entry(f"{depth} blocks", size=SCALE * marks.diameter(depth)) for depth in marks.depths),
        *(
            {"type": "scatter", "mode": "lines", "x": [None], "y": [None], "name": name, "hoverinfo": "skip",
             "line": {"color": LINE, "width": 1.5, "dash": dash}}
            for name, dash in (("frontier, 95 % bars", "solid"), ("a tie", "dash"))
        ),
    ]  # fmt: skip


def _page(
    name: str, title: str, below: str, watermark: str, links: Mapping[str, str], figure: Mapping[str, Any]
) -> str:
    from plotly.io import to_html

    body = to_html(
        dict(figure), full_html=False, include_plotlyjs="directory", div_id=f"figure-{name}", validate=False,
        config={"responsive": True, "displaylogo": False},
    )  # fmt: skip
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(below)}</p>",
            *([f'<p class="partial">{escape(watermark)}</p>'] if watermark else []),
            f"<nav>{''.join(_links(name, links))}</nav>",
            body,
            "</body></html>\n",
        ]
    )


def _links(here: str, links: Mapping[str, str]) -> Iterable[str]:
    for name, words in links.items():
        yield f"<b>{escape(words)}</b> " if name == here else f'<a href="{name}.html">{escape(words)}</a> '

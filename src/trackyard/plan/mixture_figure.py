"""A picture of a mixture: rates against the reference, repeats, and what each entry takes of the tokens of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_INCHES = 0.19
MARGIN_INCHES = 1.7
"""Above and below the rows: title, groups, axes."""
MISSING = "#b3261e"
TEXT, VISUAL = "#5f6b7a", "#e0a030"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One entry. epochs: None where its rows are unknown; tokens, visual_tokens: None where there is no plan."""

    name: str
    group: str
    reference_rate: float
    rate: float
    epochs: float | None
    tokens: int | None
    visual_tokens: int | None


def mixture_figure(bars: Sequence[Bar], *, title: str, max_epochs: float | None, out: Path) -> None:
    """Write the picture, PNG or SVG by the name of `out`. max_epochs: the limit on repeats, None if there is none."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ordered = _ordered(bars)
    colours = _colours([bar.group for bar in ordered])
    with_tokens = any(bar.tokens for bar in ordered)
    height = MARGIN_INCHES + ROW_INCHES * max(len(ordered), 6)
    figure = Figure(figsize=(15 if with_tokens else 11.5, height), dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        1, 3 if with_tokens else 2, sharey=True, width_ratios=[3, 2, 2][: 3 if with_tokens else 2], squeeze=False
    )[0]
    for panel in panels:
        _shade_groups(panel, ordered)
    _rates(panels[0], ordered, colours)
    _epochs(panels[1], ordered, colours, max_epochs)
    if with_tokens:
        _tokens(panels[2], ordered)
    figure.suptitle(title, x=0.01, y=1 - 0.12 / height, ha="left", va="top", fontsize=11, weight="bold")
    _legend(figure, colours, ordered, height)
    figure.subplots_adjust(
        left=2.5 / figure.get_figwidth(), right=0.985, bottom=0.55 / height, top=1 - 1.15 / height, wspace=0.06
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    # Text stays text in an SVG, and the same mixture gives the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


def _ordered(bars: Sequence[Bar]) -> list[Bar]:
    """Groups as they come, the largest reference rate of a group first."""
    groups = list(dict.fromkeys(bar.group for bar in bars))
    return sorted(bars, key=lambda bar: (groups.index(bar.group), -bar.reference_rate))


def _colours(groups: Sequence[str]) -> dict[str, Any]:
    from matplotlib import colormaps

    named = list(dict.fromkeys(groups))
    palette = colormaps["tab10" if len(named) <= 10 else "tab20"]
    return {group: palette(number % palette.N) for number, group in enumerate(named)}


def _shade_groups(panel: Axes, bars: Sequence[Bar]) -> None:
    """Every other group on a grey ground; names at the left, the first entry on top."""
    for number, group in enumerate(dict.fromkeys(bar.group for bar in bars)):
        rows = [row for row, bar in enumerate(bars) if bar.group == group]
        if number % 2 == 0:
            panel.axhspan(rows[0] - 0.5, rows[-1] + 0.5, color="#f2f3f5", zorder=0, linewidth=0)
    panel.set_ylim(len(bars) - 0.5, -0.5)
    panel.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=8)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", labelsize=8)
    panel.xaxis.grid(visible=True, color="#d9dce1", linewidth=0.6, zorder=0)
    panel.spines[["top", "right", "left"]].set_visible(False)


def _rates(panel: Axes, bars: Sequence[Bar], colours: dict[str, Any]) -> None:
    rows = range(len(bars))
    rates = [100 * bar.rate for bar in bars]
    panel.barh(rows, rates, height=0.72, color=[colours[bar.group] for bar in bars], zorder=2)
    reference = [100 * bar.reference_rate for bar in bars]
    panel.scatter(reference, rows, marker="|", s=70, color="black", linewidths=1.4, zorder=3)
    far = max([*rates, *reference])
    for row, bar in enumerate(bars):
        text = "missing" if bar.rate == 0 else f"{100 * bar.rate:.3g} %"
        at = 100 * max(bar.rate, bar.reference_rate) + 0.015 * far
        panel.text(at, row, text, va="center", fontsize=7, color=MISSING if bar.rate == 0 else "black", zorder=4)
    panel.set_xlim(0, 1.13 * far)
    panel.set_title("rate", fontsize=9, loc="left")
    panel.set_xlabel("share of the rows drawn, %   ( | reference, bar realised )", fontsize=8)


def _epochs(panel: Axes, bars: Sequence[Bar], colours: dict[str, Any], max_epochs: float | None) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    drawn = [bar.epochs or 0.0 for bar in bars]
    panel.barh(range(len(bars)), drawn, height=0.72, color=[colours[bar.group] for bar in bars], zorder=2)
    positive = [value for value in drawn if value > 0] or [1.0]
    low = min(0.5, *positive) / 2
    panel.set_xscale("log")
    panel.set_xlim(low, 4 * max(*positive, 1.0))
    panel.axvline(1, color="black", linewidth=0.9, zorder=3)
    if max_epochs is not None:
        panel.axvline(max_epochs, color=MISSING, linewidth=1.2, linestyle="--", zorder=3)
    for row, bar in enumerate(bars):
        if bar.rate:
            text = "rows unknown" if bar.epochs is None else f"{bar.epochs:.3g}"
            at = max(bar.epochs or 0, low) * 1.15
            # On a ground of its own, so that the lines do not run through the digits.
            ground = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}
            panel.text(at, row, text, va="center", fontsize=7, zorder=4, bbox=ground)
    limit = "" if max_epochs is None else f", limit {max_epochs:g}"
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_title("repeats", fontsize=9, loc="left")
    panel.set_xlabel(f"epochs of its rows (log scale; line at 1{limit})", fontsize=8)


def _tokens(panel: Axes, bars: Sequence[Bar]) -> None:
    """Text and visual tokens of every entry, stacked, as shares of all tokens of the plan."""
    total = sum(bar.tokens or 0 for bar in bars)
    visual = [100 * (bar.visual_tokens or 0) / total for bar in bars]
    text = [100 * (bar.tokens or 0) / total - share for bar, share in zip(bars, visual, strict=True)]
    rows = range(len(bars))
    panel.barh(rows, visual, height=0.72, color=VISUAL, zorder=2, label=f"visual, {sum(visual):.1f} % of all")
    panel.barh(rows, text, left=visual, height=0.72, color=TEXT, zorder=2, label=f"text, {sum(text):.1f} % of all")
    far = max(one + other for one, other in zip(visual, text, strict=True))
    for row, bar in enumerate(bars):
        if bar.tokens:
            share = 100 * bar.tokens / total
            panel.text(share + 0.015 * far, row, f"{share:.3g} %", va="center", fontsize=7, zorder=4)
    panel.set_xlim(0, 1.2 * far)
    panel.set_title("tokens of the plan", fontsize=9, loc="left")
    panel.set_xlabel("share of all tokens, %", fontsize=8)
    panel.legend(loc="lower right", fontsize=7.5, frameon=True, framealpha=0.9)


def _legend(figure: Any, colours: dict[str, Any], bars: Sequence[Bar], height: float) -> None:
    """Groups with their shares, in a line below the title."""
    from matplotlib.patches import Patch

    handles = []
    for group, colour in colours.items():
        rate = sum(bar.rate for bar in bars if bar.group == group)
        handles.append(Patch(color=colour, label=f"{group} {100 * rate:.3g} %"))
    columns = min(len(handles), int(figure.get_figwidth() / 2.2))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.005, 1 - 0.32 / height), ncols=columns, fontsize=8,
        frameon=False, handlelength=1, columnspacing=1.2,
    )  # fmt: skip

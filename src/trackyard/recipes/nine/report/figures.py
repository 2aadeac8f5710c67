"""Accuracy over latency as PNG and SVG: three panels per data set, and a page per axis that shows all data sets.

Every point is drawn. The frontier is a step line, dashed where the step is a tie; interval bars, both ways, are on the
frontier only. Source: nine-datasets spec section 9.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from trackyard.evaluate.frontier import Frontier
from trackyard.recipes.nine.report.frontiers import AXES, Axis, Frontiers
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.marks import Marks
from trackyard.recipes.nine.report.measured import Measurement, TaskFacts
from trackyard.recipes.nine.report.pairs import Pairs
from trackyard.recipes.nine.report.panels import draw_panel, legend_handles
from trackyard.recipes.reporting.drawing import FAINT, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDER = "figures"
COLUMNS = 3
MEANT: Mapping[Axis, str] = {
    "total": "P50 of vision + prefill + decode, ms",
    "prefill": "P50 of prefill, ms",
    "decode": "P50 of decode, all tokens, ms",
}
HEAD, FOOT = 0.7, 0.95
"""Inches above and below the panels: title, legend."""
WIDE, HIGH = 4.7, 3.6
"""Inches of a panel with its labels."""


def draw_figures(gathered: Gathered, found: Frontiers, pairs: Pairs, folder: Path) -> dict[str, str]:
    """Write every figure below `folder`; caption by the path of its PNG, relative to `folder`."""
    marks = Marks.of(gathered.all)
    made = {}
    for axis in AXES:
        name, caption = f"{FOLDER}/all-{axis}", f"All data sets: accuracy over {MEANT[axis]}"
        sheet = _sheet(caption, conditions(gathered), gathered.watermark, panels=len(found))
        for panel, (dataset, by_axis) in zip(sheet.axes, found.items(), strict=True):
            _fill(panel, gathered, by_axis[axis], axis, pairs, marks)
            panel.set_title(gathered.tasks[dataset].heading, fontsize=11, loc="left", weight="bold")
        _legend(sheet, marks, {level: f"visual {level}" for level in marks.visual}, gathered.tasks.values())
        save(sheet, folder / name, name)
        made[f"{name}.png"] = caption
    for dataset, by_axis in found.items():
        name, task = f"{FOLDER}/{dataset}", gathered.tasks[dataset]
        results = list(gathered.results[dataset].values())
        sheet = _sheet(
            f"{task.heading}: {answered(results)}",
            conditions(gathered),
            gathered.watermarks[dataset],
            panels=len(AXES),
        )
        for panel, axis in zip(sheet.axes, AXES, strict=True):
            _fill(panel, gathered, by_axis[axis], axis, pairs, marks)
        _legend(sheet, marks, visual_words(marks, results), [task])
        save(sheet, folder / name, name)
        made[f"{name}.png"] = f"{task.heading}: accuracy over P50 of total, prefill and decode"
    return made


def answered(results: Sequence[Measurement]) -> str:
    """How much was asked, and how long answers were."""
    lengths = [result.n_out for result in results]
    return (
        f"{len(results)} configurations, {max(result.tally.expected for result in results):,} questions, "
        f"answers of {fmean(lengths):.1f} tokens in the mean ({min(lengths):.1f} to {max(lengths):.1f})"
    )


def conditions(gathered: Gathered) -> str:
    """What was measured, and on what."""
    sweep = gathered.sweep
    kind = "CPU, not comparable with GPUs" if sweep.on_cpu else "GPU"
    return "; ".join(
        [
            f"{sweep.model}, {sweep.precision}, batch 1, answers of {sweep.ending} length",
            f"{kind}: {', '.join(sorted({machine.device for machine in sweep.machines}))}",
            *(["beside other load"] if sweep.busy else []),
        ]
    )


def visual_words(marks: Marks, results: Sequence[Measurement]) -> dict[int, str]:
    """What a level of the visual knob came to on a data set."""
    found: dict[int, str] = {}
    for level in marks.visual:
        tokens = [result.realised_visual.mean for result in results if result.configuration.visual == level]
        found[level] = f"visual {level}: {fmean(tokens):,.0f} tokens" if tokens else f"visual {level}"
    return found


def _fill(panel: Axes, gathered: Gathered, frontier: Frontier, axis: Axis, pairs: Pairs, marks: Marks) -> None:
    task = gathered.tasks[frontier.dataset]
    draw_panel(panel, frontier, gathered.results[frontier.dataset], pairs, marks, chance=task.chance)
    panel.set_xlabel(MEANT[axis], fontsize=9.5)
    panel.set_ylabel(task.metric_words, fontsize=9.5)


def _sheet(title: str, below: str, watermark: str, *, panels: int) -> Figure:
    columns = min(COLUMNS, panels)
    lines = math.ceil(panels / columns)
    width, height = WIDE * columns, HIGH * lines + HEAD + FOOT
    figure = new_figure(width, height)
    # Laid out by hand: the sizes are known, and solving for them takes longer than drawing.
    figure.set_layout_engine(None)
    for number in range(panels):
        figure.add_subplot(lines, columns, number + 1)
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.2 / width,
        bottom=(FOOT + 0.45) / height,
        top=1 - (HEAD + 0.3) / height,
        wspace=0.95 / (WIDE - 0.95),
        hspace=0.95 / (HIGH - 0.95),
    )
    figure.text(0.2 / width, 1 - 0.1 / height, title, fontsize=12.5, weight="bold", va="top")
    figure.text(0.2 / width, 1 - 0.42 / height, below, fontsize=9.5, color=FAINT, va="top")
    if watermark:
        figure.text(
            0.5, 0.5, watermark, fontsize=2.4 * width, color="#b3261e", alpha=0.28, ha="center", va="center",
            rotation=15, zorder=10,
        )  # fmt: skip
    return figure


def _legend(figure: Figure, marks: Marks, words: Mapping[int, str], tasks: Iterable[TaskFacts]) -> None:
    handles = legend_handles(marks, words, chance=any(task.chance is not None for task in tasks))
    columns = max(1, min(len(handles), int(figure.get_figwidth() / 1.9)))
    figure.legend(
        handles=handles, loc="lower left", ncols=columns, fontsize=9, frameon=False,
        bbox_to_anchor=(0.1 / figure.get_figwidth(), 0.1 / figure.get_figheight()),
    )  # fmt: skip

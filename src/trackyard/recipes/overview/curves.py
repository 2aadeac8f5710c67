"""Loss curves of stages, a panel each, since their lengths and losses are not alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from trackyard.errors import DataError
from trackyard.recipes.overview.blocks import Picture
from trackyard.recipes.overview.drawn import drawn
from trackyard.recipes.reporting.drawing import make_plain, new_figure

RAW, SMOOTH = "#a9bfda", "#2f6fb5"
WINDOW = 0.05
"""Of a curve, that the mean is taken over."""


def loss_curves(files: Mapping[str, Path]) -> Picture:
    """files: curves.csv by stage, with the columns step and loss."""
    curves = {stage: _read(path, stage) for stage, path in files.items()}
    figure = new_figure(4.0 * len(curves), 3.2)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (stage, points) in zip(panels, curves.items(), strict=True):
        steps, losses = zip(*points, strict=True)
        panel.plot(steps, losses, color=RAW, linewidth=0.8, zorder=2)
        panel.plot(steps, smoothed(losses), color=SMOOTH, linewidth=1.8, zorder=3)
        panel.set_title(f"{stage}, {len(points):,} steps", fontsize=10, loc="left")
        panel.set_xlabel("step", fontsize=9)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_ylim(bottom=0)
        make_plain(panel)
    panels[0].set_ylabel("training loss, nats per weighted token", fontsize=9)
    ends = "; ".join(f"{stage} {points[0][1]:.3f} to {points[-1][1]:.3f}" for stage, points in curves.items())
    return drawn(
        figure,
        "molmo2-loss",
        caption=f"Training loss by step. Pale: every step; dark: mean over the {WINDOW:.0%} of the steps before it.",
        alt=f"Training loss of each stage, first to last step: {ends}",
    )


def smoothed(values: Sequence[float]) -> list[float]:
    """Mean over the last WINDOW of all values up to each of them."""
    window = max(1, round(WINDOW * len(values)))
    return [fmean(values[max(0, place - window + 1) : place + 1]) for place in range(len(values))]


def _read(path: Path, stage: str) -> list[tuple[int, float]]:
    fix = f"dvc repro {stage}"
    if not path.is_file():
        raise DataError(what=f"{path} does not exist", why="it is the loss curve of the stage", fix=fix)
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    try:
        found = [(int(row["step"]), float(row["loss"])) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            what=f"line {rows.line_num} of {path} has no step and loss: {error!r}", why="it was altered or cut", fix=fix
        ) from error
    if not found:
        raise DataError(what=f"{path} has no step", why="a stage that ended has a loss of its steps", fix=fix)
    return found

"""The numbers behind the figures as CSV and Markdown: a table per data set, frontier keys, and their overlap.

The CSV of a data set is also what `dvc plots` draws. Source: nine-datasets spec section 9.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from trackyard.durable import write_atomic
from trackyard.evaluate.latency.statistics import Part
from trackyard.recipes.nine.report.frontiers import AXES, Axis, Frontiers, overlaps
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.measured import Measurement
from trackyard.recipes.reporting.grid import Grid

FOLDER = "tables"
KNOBS = ("visual", "experts", "blocks")
TIMED: tuple[Part, ...] = ("total", "prefill", "decode", "vision", "step")
Cell = str | int | float | None


def write_tables(gathered: Gathered, found: Frontiers, folder: Path) -> dict[str, str]:
    """Write every table below `folder`; what it shows by the path of its CSV, relative to `folder`."""
    made = {}
    for name in found:
        header, rows = numbers(gathered, found, name)
        _write(folder / FOLDER / name, header, rows, configurations(gathered, found, name), gathered.watermarks[name])
        made[f"{FOLDER}/{name}.csv"] = f"{gathered.tasks[name].heading}: configurations by latency"
    header, rows = frontier_rows(gathered, found)
    _write(folder / FOLDER / "frontier-keys", header, rows, frontier_keys(gathered, found), gathered.watermark)
    made[f"{FOLDER}/frontier-keys.csv"] = "configurations that are on a frontier, with the data sets"
    shared: list[list[Cell]] = []
    for axis in AXES:
        for name, row in overlaps(found, axis).items():
            shared += [[axis, name, other, value] for other, value in row.items()]
    _write(
        folder / FOLDER / "overlap",
        ["axis", "first", "second", "jaccard"],
        shared,
        overlap_grid(gathered, found, AXES[0]),
        gathered.watermark,
    )
    made[f"{FOLDER}/overlap.csv"] = "Jaccard overlap of frontiers between data sets, by axis"
    return made


def numbers(gathered: Gathered, found: Frontiers, dataset: str) -> tuple[list[str], list[list[Cell]]]:
    """Header and rows of a data set for programs, by total latency. Empty where a knob or a part does not exist."""
    metric = gathered.tasks[dataset].metric
    header = [
        "key", *KNOBS, "block_indices", "metric", "value", "lo", "hi",
        *(f"{part}_{name}_ms" for part in TIMED for name in ("p50", "p95", "p99")),
        "total_p50_lo_ms", "total_p50_hi_ms", "visual_tokens", "answer_tokens", "cap_rate", "unparsed_rate",
        "expected", "ok", "failed", "timed", "invalid", *(f"on_frontier_{axis}" for axis in AXES),
    ]  # fmt: skip
    rows = []
    for point in found[dataset][AXES[0]].points:
        result = gathered.results[dataset][point.key]
        value, blocks = result.metric[metric], result.configuration.blocks
        rows.append(
            [
                result.key, *(result.knobs.get(name) for name in KNOBS),
                None if blocks is None else " ".join(map(str, blocks)), metric, value.value, value.lo, value.hi,
                *_times(result), point.x_lo, point.x_hi, result.realised_visual.mean, result.n_out, result.cap_rate,
                result.unparsed_rate, result.tally.expected, result.tally.ok, result.tally.failed,
                result.times.counted, result.times.invalid,
                *(int(result.key in found[dataset][axis].keys) for axis in AXES),
            ]
        )  # fmt: skip
    return header, rows


def configurations(gathered: Gathered, found: Frontiers, dataset: str) -> Grid:
    """A data set for people, by total latency. Its last column names the axes whose frontier has it."""
    metric = gathered.tasks[dataset].metric
    rows = []
    for point in found[dataset][AXES[0]].points:
        result = gathered.results[dataset][point.key]
        value = result.metric[metric]
        rows.append(
            (
                result.name,
                *(str(result.knobs.get(name, "-")) for name in KNOBS),
                f"{value.value:.4f} [{value.lo:.4f}, {value.hi:.4f}]",
                *(_three(result, part) for part in TIMED),
                f"{result.realised_visual.mean:,.0f}",
                f"{result.n_out:.1f}",
                f"{result.cap_rate:.2%}",
                " ".join(axis if point.key in found[dataset][axis].keys else "-" for axis in AXES),
            )
        )
    return Grid(
        title=f"{gathered.tasks[dataset].heading}: milliseconds as P50 / P95 / P99",
        header=(
            "key",
            *KNOBS,
            f"{metric} [95 %]",
            *TIMED,
            "visual tokens",
            "answer tokens",
            "at cap",
            "on frontier of",
        ),
        rows=tuple(rows),
    )


def frontier_rows(gathered: Gathered, found: Frontiers) -> tuple[list[str], list[list[Cell]]]:
    """Configurations that are on any frontier of total latency, those of most data sets first."""
    rows: list[list[Cell]] = []
    for key in gathered.sweep.keys:
        on = [name for name in found if key in found[name][AXES[0]].keys]
        if on:
            result = gathered.results[on[0]][key]
            rows.append([key, *(result.knobs.get(name) for name in KNOBS), len(on), " ".join(on)])
    rows.sort(key=lambda row: -int(row[4] or 0))
    return ["key", *KNOBS, "data_sets", "names"], rows


def frontier_keys(gathered: Gathered, found: Frontiers) -> Grid:
    """The same for people: a star per data set."""
    _, rows = frontier_rows(gathered, found)
    names = list(found)
    return Grid(
        title="on the frontier of accuracy over total latency",
        header=("key", *KNOBS, "of", *(gathered.tasks[name].heading for name in names)),
        rows=tuple(
            (
                str(row[0])[:12],
                *("-" if level is None else str(level) for level in row[1:4]),
                f"{row[4]} of {len(names)}",
                *("*" if name in str(row[5]).split() else "" for name in names),
            )
            for row in rows
        ),
    )


def overlap_grid(gathered: Gathered, found: Frontiers, axis: Axis) -> Grid:
    """Jaccard index of frontier keys, data set by data set."""
    shared = overlaps(found, axis)
    headings = [gathered.tasks[name].heading for name in shared]
    return Grid(
        title=f"overlap of frontiers of {axis} latency: common configurations over all of both",
        header=("", *headings),
        rows=tuple(
            (heading, *(f"{value:.2f}" for value in shared[name].values()))
            for heading, name in zip(headings, shared, strict=True)
        ),
    )


def _times(result: Measurement) -> list[Cell]:
    found: list[Cell] = []
    for part in TIMED:
        times = result.times.parts.get(part)
        found += [None] * 3 if times is None else [times.p50, times.p95, times.p99]
    return found


def _three(result: Measurement, part: Part) -> str:
    times = result.times.parts.get(part)
    return "-" if times is None else f"{times.p50:.1f} / {times.p95:.1f} / {times.p99:.1f}"


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Numbers as they are, empty for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    write_atomic(path, text.getvalue())


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]], grid: Grid, watermark: str) -> None:
    write_csv(path.with_suffix(".csv"), header, rows)
    lines = [f"# {grid.title}", "", *([f"**{watermark}**", ""] if watermark else []), *grid.markdown()]
    write_atomic(path.with_suffix(".md"), "\n".join(lines) + "\n")

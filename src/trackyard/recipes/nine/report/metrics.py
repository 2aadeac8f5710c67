"""The numbers of a sweep in the forms that DVC and MLflow read: metrics.json, and names with values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trackyard.recipes.nine.report.findings import Finding
from trackyard.recipes.nine.report.frontiers import Frontiers
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.tables import Cell, numbers, write_csv
from trackyard.record.metrics_file import FILE, write_metrics

SWEEP = "sweep"
"""Stage of the run of the whole sweep, and its label in metrics.json."""
POINTS = "points.csv"


def write_numbers(gathered: Gathered, frontiers: Frontiers, found: Sequence[Finding], folder: Path) -> None:
    """metrics.json for `dvc metrics`, and points.csv, all configurations of all data sets, for `dvc plots`."""
    write_metrics(folder / FILE, {SWEEP: sweep_metrics(found)})
    header: list[str] = []
    rows: list[list[Cell]] = []
    for name in frontiers:
        header, found_rows = numbers(gathered, frontiers, name)
        rows += [[name, *row] for row in found_rows]
    write_csv(folder / POINTS, ["dataset", *header], rows)


def summary(found: Sequence[Finding]) -> dict[str, dict[str, float]]:
    """By data set, for the result of the stage."""
    return {
        finding.task.name: {
            finding.task.metric: finding.best.metric[finding.task.metric].value,
            "best_ms": finding.best.times.parts["total"].p50,
            "as_good": len(finding.as_good),
            "fastest_as_good_ms": finding.fastest_as_good.times.parts["total"].p50,
            "fastest_ms": finding.fastest.times.parts["total"].p50,
            f"fastest_{finding.task.metric}": finding.fastest.metric[finding.task.metric].value,
            "on_frontier": finding.on_frontier,
            "configurations": finding.configurations,
        }
        for finding in found
    }


def sweep_metrics(found: Sequence[Finding]) -> dict[str, float]:
    """Of the whole sweep, in metrics.json and in MLflow: a few numbers of each data set.

    What a name does not say is of the best configuration: eval/<data set>/<metric> at latency/<data set>/best_ms.
    """
    values: dict[str, float] = {}
    for of in found:
        name, metric = of.task.name, of.task.metric
        values |= {
            f"eval/{name}/{metric}": of.best.metric[metric].value,
            f"eval/fastest/{name}/{metric}": of.fastest.metric[metric].value,
            f"eval/{name}/as_good": len(of.as_good),
            f"eval/{name}/on_frontier": of.on_frontier,
            f"eval/{name}/configurations": of.configurations,
            f"latency/{name}/best_ms": of.best.times.parts["total"].p50,
            f"latency/{name}/fastest_as_good_ms": of.fastest_as_good.times.parts["total"].p50,
            f"latency/{name}/fastest_ms": of.fastest.times.parts["total"].p50,
        }
        if of.task.chance is not None:
            values[f"chance/eval/{name}/{metric}"] = of.task.chance
    return values


def configuration_metrics(gathered: Gathered, key: str) -> dict[str, float]:
    """Of the run of one configuration: eval/<data set>/<name> and latency/<data set>/<part>_<percentile>_ms."""
    values: dict[str, float] = {}
    for name, here in gathered.results.items():
        result = here.get(key)
        if result is None:
            continue
        values |= {f"eval/{name}/{metric}": measured.value for metric, measured in result.metric.items()}
        values |= {
            f"eval/{name}/visual_tokens": result.realised_visual.mean,
            f"eval/{name}/answer_tokens": result.n_out,
            f"eval/{name}/cap_rate": result.cap_rate,
            f"eval/{name}/unparsed_rate": result.unparsed_rate,
            f"eval/{name}/failed": float(result.tally.failed),
        }
        for part, times in result.times.parts.items():
            for percentile, value in (("p50", times.p50), ("p95", times.p95), ("p99", times.p99)):
                values[f"latency/{name}/{part}_{percentile}_ms"] = value
    return values

"""What is said about many answers' times. Source: nine-datasets spec section 7 (statistics)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trackyard.errors import DataError
from trackyard.evaluate.statistics import AT_ONCE, LEVEL, Interval

RESAMPLES = 2_000
Part = Literal["pre", "vision", "prefill", "decode", "total", "step"]
"""Parts of an answer's time; `step` is one decode step, which answers of one token have not."""
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Milliseconds over `n` samples. std: of a sample (n - 1), 0 for one. p50_ci95: None for one, which has no spread.

    Percentiles interpolate linearly between neighbours.
    """

    n: int
    mean: float
    std: float
    min: float
    max: float
    p50: float
    p95: float
    p99: float
    p50_ci95: Interval | None

    def to_json(self) -> dict[str, Any]:
        """For documents."""
        ends = None if self.p50_ci95 is None else [self.p50_ci95.low, self.p50_ci95.high]
        names = ("n", "mean", "std", "min", "max", "p50", "p95", "p99")
        return {**{name: getattr(self, name) for name in names}, "p50_ci95": ends}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencySummary:
    """A configuration on a task. parts: those that any sample has. warmup, invalid: samples that do not count."""

    parts: Mapping[Part, Summary]
    counted: int
    warmup: int
    invalid: int
    n_out: float
    """Mean tokens of an answer, over those that count."""


def summarise(values: ArrayLike, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> Summary:
    """Of `values` [n] in milliseconds. DataError without any, or for one that is no number."""
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size or not np.isfinite(numbers).all():
        raise DataError(
            what=f"statistics of {numbers.size} times, {int((~np.isfinite(numbers)).sum())} of them no number",
            why="there is nothing that they would be about",
            fix="run the latency stage of this configuration again: dvc repro pipelines/nine/dvc.yaml:latency",
        )
    p50, p95, p99 = (float(value) for value in np.percentile(numbers, [50, 95, 99], method="linear"))
    return Summary(
        n=numbers.size,
        mean=float(numbers.mean()),
        std=float(numbers.std(ddof=1)) if numbers.size > 1 else 0.0,
        min=float(numbers.min()),
        max=float(numbers.max()),
        p50=p50,
        p95=p95,
        p99=p99,
        p50_ci95=_median_interval(numbers, rng, resamples) if numbers.size > 1 else None,
    )


def summarise_rows(
    rows: Iterable[Mapping[str, Any]], *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> LatencySummary:
    """Of the lines of latency.jsonl of one configuration on one task. DataError if none of them counts."""
    rows = list(rows)
    timed = [row for row in rows if not row["warmup"]]
    counted = [row for row in timed if row["valid"]]
    found = {part: [value for row in counted if (value := part_ms(row, part)) is not None] for part in PARTS}
    if not counted:
        raise DataError(
            what=f"none of {len(timed)} latency samples counts, and {len(rows) - len(timed)} were warm-up",
            why="the parts of every sample differ from its whole: what was timed is not what ran",
            fix="end what else runs on the machine, remove these lines and run the latency stage again",
        )
    return LatencySummary(
        parts={part: summarise(values, rng=rng, resamples=resamples) for part, values in found.items() if values},
        counted=len(counted),
        warmup=len(rows) - len(timed),
        invalid=len(timed) - len(counted),
        n_out=sum(row["n_out"] for row in counted) / len(counted),
    )


def part_ms(row: Mapping[str, Any], part: Part) -> float | None:
    """A part of one line of latency.jsonl; None for the step of an answer that has none."""
    if part != "step":
        return float(row[f"t_{part}_ms"])
    steps = row["n_out"] - 1
    return float(row["t_decode_ms"]) / steps if steps > 0 else None


def _median_interval(numbers: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> Interval:
    """Percentile bootstrap over samples of the median."""
    found = np.empty(resamples)
    at_once = max(1, AT_ONCE // numbers.size)
    for start in range(0, resamples, at_once):
        piece = found[start : start + at_once]
        drawn = rng.integers(numbers.size, size=(piece.size, numbers.size), dtype=np.int32)
        piece[:] = np.median(numbers[drawn], axis=1)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))

"""What runs came to, and what that cost, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trackyard.record.comparing.summary import RunSummary
from trackyard.record.metric_names import Better, better, unit

TOLD = ("validation", "test", "bench", "eval", "attack", "start", "train")
"""Families of what a run came to, in the order in which they are told; of `train` the loss alone. Other families say
how it ran."""
SPEED = "usage/tokens_per_second"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A metric that all runs have. values, steps: by run. better: None where neither end is.

    best: numbers of the runs, from 0, that have the best value; empty where all are equal, neither end is better, or
    runs are of several stages, which are measured on data of their own.
    """

    metric: str
    family: str
    unit: str
    better: Better | None
    values: tuple[float, ...]
    steps: tuple[int, ...]
    best: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """values: by run, None where it is not known."""

    name: str
    unit: str
    values: tuple[float | None, ...]


def outcome_family(metric: str) -> str | None:
    """None for a metric that says how a run ran, and not what it came to."""
    head = metric.partition("/")[0]
    return head if (head in TOLD and head != "train") or metric == "train/loss" else None


def outcomes(runs: Sequence[RunSummary]) -> tuple[Outcome, ...]:
    """Of the metrics that all runs have, by family and name. ConfigError for a name of no family."""
    names = [set(run.metrics) for run in runs]
    common = names[0].intersection(*names[1:])
    found = [(family, metric) for metric in common if (family := outcome_family(metric)) is not None]
    found.sort(key=lambda one: (TOLD.index(one[0]), one[1]))
    return tuple(_outcome(family, metric, runs) for family, metric in found)


def only_in_some(runs: Sequence[RunSummary]) -> tuple[str, ...]:
    """Metrics of what runs came to that some have and others lack; sorted."""
    every = [{name for name in run.metrics if outcome_family(name) is not None} for run in runs]
    return tuple(sorted(set().union(*every) - every[0].intersection(*every[1:])))


def costs(runs: Sequence[RunSummary]) -> tuple[Cost, ...]:
    """Of training. Throughput is that of the last time it was logged."""
    speeds = (run.metrics.get(SPEED) for run in runs)
    return (
        Cost(name="training", unit="h", values=tuple(run.hours for run in runs)),
        Cost(name="devices", unit="device h", values=tuple(run.device_hours for run in runs)),
        Cost(name="energy of GPUs", unit="kWh", values=tuple(run.energy_kwh for run in runs)),
        Cost(name="throughput", unit="tokens/s", values=tuple(speed.value if speed else None for speed in speeds)),
    )


def _outcome(family: str, metric: str, runs: Sequence[RunSummary]) -> Outcome:
    finals = [run.metrics[metric] for run in runs]
    values = tuple(final.value for final in finals)
    end = better(metric)
    best: tuple[int, ...] = ()
    stages = {(run.track, run.stage) for run in runs}
    if end is not None and len(set(values)) > 1 and len(stages) == 1:
        wanted = min(values) if end == "lower" else max(values)
        best = tuple(number for number, value in enumerate(values) if value == wanted)
    return Outcome(
        metric=metric,
        family=family,
        unit=unit(metric),
        better=end,
        values=values,
        steps=tuple(final.step for final in finals),
        best=best,
    )

"""All runs of a track in one table: what varies among them, and what they came to, over seeds where only those differ.

Runs are one row if all that decides them is equal but the seed, and what the seed decides: which rows or documents are
drawn, in which order, and from which parent. Two runs with one seed are never one row: something else differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from trackyard.digest import digest_json, short
from trackyard.errors import ConfigError
from trackyard.record.comparing.differences import Kind, leaves_of
from trackyard.record.comparing.outcomes import TOLD, outcome_family
from trackyard.record.comparing.summary import RunSummary
from trackyard.record.metric_names import Better, better, unit

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "molmo2": ("validation/loss",),
    "pile_ffn": ("test/nll", "validation/loss"),
    "datacomp": ("eval/blink/macro_accuracy", "train/loss"),
}
"""What the runs of a track are ranked by: the first of these that any of them has."""
BY_SEED: tuple[Kind, ...] = ("data", "parent")
"""What may differ between two seeds of one row."""
SEED, STAGE = "seed", "stage"

Leaves = Mapping[tuple[Kind, str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A metric over the runs of a row. sd: sample standard deviation over seeds, None for one run."""

    mean: float
    sd: float | None
    low: float
    high: float
    runs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackRow:
    """values: by column, as JSON. A name that ends in a colon is of all that is of that kind. seeds, runs: in order.

    metrics: by name, of the runs of the row that have it. device_hours, energy_kwh: of all of them together, None where
    one is unknown. redrawn: whether the seeds have data or parents of their own.
    """

    values: Mapping[str, str | None]
    seeds: tuple[int, ...]
    runs: tuple[RunSummary, ...]
    metrics: Mapping[str, Spread]
    device_hours: float | None
    energy_kwh: float | None
    redrawn: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A metric of the table; the first one ranks it."""

    metric: str
    unit: str
    better: Better | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackTable:
    """columns: what varies between rows of a stage, by name, and the stage. equal: number of things that do not.

    rows: by stage; in it best first, then those without the first metric.
    """

    track: str
    columns: tuple[str, ...]
    equal: int
    metrics: tuple[Column, ...]
    rows: tuple[TrackRow, ...]


def track_table(
    summaries: Sequence[RunSummary], track: str, *, stage: str | None = None, metrics: Sequence[str] = ()
) -> TrackTable:
    """Runs of `track` among `summaries`, of one stage or of all. metrics: the track's headline where none is named.

    ConfigError where there is no such run, or none of them has a metric that was asked for.
    """
    runs = [run for run in summaries if run.track == track and stage in (None, run.stage)]
    if not runs:
        stages = sorted({run.stage for run in summaries if run.track == track})
        raise ConfigError(
            what=f"no run of {track}{'' if stage is None else f' {stage}'}",
            why=f"runs of {track} are of the stages {', '.join(stages)}" if stages else "there is nothing to compare",
            fix=f"trackyard run {track} {stage or '<stage>'}",
        )
    shown = _metrics(runs, track, metrics)
    leaves = {run.label: _leaves(run) for run in runs}
    rows = [_row(members, leaves, shown) for members in _grouped(runs, leaves)]
    every = {name for row in rows for name in row.values}
    columns = [name for name in sorted(every, key=_place) if _varies(name, rows)]
    return TrackTable(
        track=track,
        columns=tuple(columns),
        equal=len(every) - len(columns),
        metrics=tuple(Column(metric=name, unit=unit(name), better=better(name)) for name in shown),
        rows=tuple(sorted(rows, key=lambda row: _rank(row, shown))),
    )


def _metrics(runs: Sequence[RunSummary], track: str, asked: Sequence[str]) -> tuple[str, ...]:
    there = {name for run in runs for name in run.metrics}
    absent = [name for name in asked if name not in there]
    told = sorted((name for name in there if outcome_family(name) and better(name)), key=lambda n: _telling(n, runs))
    if absent:
        raise ConfigError(
            what=f"no run of {track} has the metric {', '.join(absent)}",
            why=f"what they came to is {', '.join(told) or 'not recorded yet'}",
            fix=f"trackyard compare --track {track}" + (f" --metric {told[0]}" if told else ""),
        )
    return tuple(asked) or tuple([name for name in HEADLINES.get(track, ()) if name in there][:1] or told[:1])


def _telling(metric: str, runs: Sequence[RunSummary]) -> tuple[int, bool, int, str]:
    """Order in which metrics stand for a track whose names depend on its tasks: what most runs have, scores before
    rates of failure."""
    have = sum(metric in run.metrics for run in runs)
    return -have, better(metric) != "higher", TOLD.index(str(outcome_family(metric))), metric


def _grouped(runs: Sequence[RunSummary], leaves: Mapping[str, Leaves]) -> Iterator[list[RunSummary]]:
    """Rows; where a seed comes twice, or some runs have ended and others have not, by everything but the seed."""
    groups: dict[tuple[object, ...], list[RunSummary]] = {}
    for run in runs:
        groups.setdefault(_identity(run, leaves, without=BY_SEED), []).append(run)
    for members in groups.values():
        if len({run.seed for run in members}) == len(members):
            yield members
            continue
        parts: dict[tuple[object, ...], list[RunSummary]] = {}
        for run in members:
            parts.setdefault(_identity(run, leaves, without=()), []).append(run)
        yield from parts.values()


def _identity(run: RunSummary, leaves: Mapping[str, Leaves], *, without: Sequence[Kind]) -> tuple[object, ...]:
    return (run.status, *(leaf for leaf in leaves[run.label].items() if leaf[0][0] not in without))


def _leaves(run: RunSummary) -> Leaves:
    """All but the seed, which parameters may name as well, and the machine, which decides no result."""
    return {
        key: value
        for key, value in leaves_of(run)
        if key[0] not in ("seed", "machine") and not (key[0] == "parameters" and key[1].rpartition(".")[2] == SEED)
    }


def _varies(column: str, rows: Sequence[TrackRow]) -> bool:
    """Between rows of one stage: stages have parameters of their own, and that they differ is no news."""
    if column == STAGE:
        return len({row.values[STAGE] for row in rows}) > 1
    found: dict[str | None, set[str | None]] = {}
    for row in rows:
        found.setdefault(row.values[STAGE], set()).add(row.values.get(column))
    return any(len(values) > 1 for values in found.values())


def _row(members: Sequence[RunSummary], all_leaves: Mapping[str, Leaves], shown: Sequence[str]) -> TrackRow:
    runs = sorted(members, key=lambda run: run.seed)
    leaves = [all_leaves[run.label] for run in runs]
    values: dict[str, str | None] = {"status": json.dumps(runs[0].status.lower())}
    values |= {name: value for (kind, name), value in leaves[0].items() if kind in ("parameters", STAGE)}
    redrawn = False
    for kind in ("model", "data", "code", "image", "parent"):
        of_kind = [{name: value for (here, name), value in each.items() if here == kind} for each in leaves]
        if all(each == of_kind[0] for each in of_kind):
            values[f"{kind}:"] = _told(kind, of_kind[0])
        else:
            redrawn = True
    finals = {name: [run.metrics[name].value for run in runs if name in run.metrics] for name in shown}
    return TrackRow(
        values=values,
        seeds=tuple(run.seed for run in runs),
        runs=tuple(runs),
        metrics={name: _spread(of) for name, of in finals.items() if of},
        device_hours=_sum([run.device_hours for run in runs]),
        energy_kwh=_sum([run.energy_kwh for run in runs]),
        redrawn=redrawn,
    )


def _told(kind: str, leaves: Mapping[str, str]) -> str:
    """One text for all that is of a kind: a digest for what has many leaves. `trackyard compare` tells each."""
    if kind == "code":
        dirty = json.loads(leaves["uncommitted"])
        return json.dumps(short(json.loads(leaves["commit"])) + (f" + {short(dirty)}" if dirty else ""))
    return next(iter(leaves.values())) if kind in leaves else json.dumps(short(digest_json(dict(leaves))))


def _spread(values: Sequence[float]) -> Spread:
    sd = stdev(values) if len(values) > 1 else None
    return Spread(mean=fmean(values), sd=sd, low=min(values), high=max(values), runs=len(values))


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _place(column: str) -> tuple[bool, bool, str]:
    """The stage, parameters, then what is told of a whole kind."""
    return column != STAGE, column.endswith(":") or column == "status", column


def _rank(row: TrackRow, shown: Sequence[str]) -> tuple[str, bool, float, str]:
    first = row.runs[0]
    found = row.metrics.get(shown[0]) if shown else None
    if found is None:
        return first.stage, True, 0.0, first.label
    return first.stage, False, -found.mean if better(shown[0]) == "higher" else found.mean, first.label

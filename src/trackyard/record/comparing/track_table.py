"""All runs of a track in one table: what varies among them, and what they came to, over the seeds of each row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from trackyard.digest import digest_json, short
from trackyard.errors import ConfigError
from trackyard.record.comparing.differences import Kind
from trackyard.record.comparing.outcomes import TOLD, outcome_family
from trackyard.record.comparing.seed_rows import Leaves, deciding, seed_rows
from trackyard.record.comparing.summary import RunSummary
from trackyard.record.metric_names import Better, better, unit

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "molmo2": ("validation/loss",),
    "pile_ffn": ("test/nll", "validation/loss"),
    "datacomp": ("eval/blink/macro_accuracy", "train/loss"),
    "nine": (),
}
"""What the runs of a track are ranked by: the first of these that any of them has, else what most of them have."""
STAGE, STATUS = "stage:", "status:"
OF_KINDS: tuple[Kind, ...] = ("stage", "model", "data", "evaluation", "code", "image", "parent")
"""What is told of all leaves of a kind in one text, in a column of its name and a colon."""
FINISHED = json.dumps("finished")


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
    """values: by column, as JSON. A name that ends in a colon is of all that is of that kind; it is not there where
    seeds differ in it. seeds, runs: in order.

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

    def by_seed(self, column: str) -> bool:
        """Whether the seeds differ in it."""
        return column.endswith(":") and column not in self.values


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A metric of the table; the first one ranks it."""

    metric: str
    unit: str
    better: Better | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackTable:
    """columns: what varies between rows of a stage, by name, the stage, and the status where one has not finished.

    equal: number of things that do not vary.
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
            why=f"runs of {track} are of the stages {', '.join(stages)}"
            if stages
            else f"runs/ holds none of this track; tracks are {', '.join(HEADLINES)}",
            fix=f"trackyard compare --track {track} --stage {stages[0]}"
            if stages
            else "name another track, bring its runs/ to this machine, or make runs of all tracks: make demo-all",
        )
    shown = _metrics(runs, track, metrics)
    leaves = {run.label: deciding(run) for run in runs}
    rows = [_row(members, leaves, shown) for members in seed_rows(runs, leaves)]
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


def _varies(column: str, rows: Sequence[TrackRow]) -> bool:
    """Between rows of one stage: stages have parameters of their own, and that they differ is no news.

    A status is told unless all have finished: numbers of a run that goes on, or failed, are no outcome yet.
    """
    if column == STAGE:
        return len({row.values[STAGE] for row in rows}) > 1
    if column == STATUS:
        return any(row.values[STATUS] != FINISHED for row in rows)
    found: dict[str | None, set[str | None]] = {}
    for row in rows:
        found.setdefault(row.values[STAGE], set()).add(row.values.get(column))
    return any(len(values) > 1 for values in found.values())


def _row(members: Sequence[RunSummary], all_leaves: Mapping[str, Leaves], shown: Sequence[str]) -> TrackRow:
    runs = sorted(members, key=lambda run: run.seed)
    leaves = [all_leaves[run.label] for run in runs]
    values: dict[str, str | None] = {STATUS: json.dumps(runs[0].status.lower())}
    values |= {name: value for (kind, name), value in leaves[0].items() if kind == "parameters"}
    redrawn = False
    for kind in OF_KINDS:
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
    if not leaves:
        return json.dumps(None)
    return leaves[kind] if set(leaves) == {kind} else json.dumps(short(digest_json(dict(leaves))))


def _spread(values: Sequence[float]) -> Spread:
    sd = stdev(values) if len(values) > 1 else None
    return Spread(mean=fmean(values), sd=sd, low=min(values), high=max(values), runs=len(values))


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _place(column: str) -> tuple[bool, bool, str]:
    """The stage, parameters, then what is told of a whole kind."""
    return column != STAGE, column.endswith(":"), column


def _rank(row: TrackRow, shown: Sequence[str]) -> tuple[str, bool, float, str]:
    first = row.runs[0]
    found = row.metrics.get(shown[0]) if shown else None
    if found is None:
        return first.stage, True, 0.0, first.label
    return first.stage, False, -found.mean if better(shown[0]) == "higher" else found.mean, first.label

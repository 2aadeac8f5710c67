"""What the tracks cost: time, devices, tokens and energy of every stage. What was not measured is not known."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from trackyard.recipes.overview.blocks import Block, Section, Table, Text
from trackyard.recipes.overview.track import TrackReport
from trackyard.recipes.reporting.grid import Grid
from trackyard.record.comparing.attempt_log import TRAINED
from trackyard.record.comparing.summary import RunSummary

UNKNOWN = "not known"
SHOWN = 15
"""Runs of a track at most in the table, the newest; runs.csv has all."""
RUNS = "runs.csv"
STATES = {
    "FINISHED": "finished",
    "FAILED": "failed",
    "SCHEDULED": "stopped, to be continued",
    "RUNNING": "running, or killed",
}
"""MLflow's words, as a person would say them."""


def cost_section(reports: Sequence[TrackReport], runs: Sequence[RunSummary]) -> Section:
    """runs: also of tracks that have no report yet."""
    return Section(anchor="costs", title="Costs", blocks=tuple(_blocks(reports, runs)))


def _blocks(reports: Sequence[TrackReport], runs: Sequence[RunSummary]) -> Iterator[Block]:
    yield Text(
        "Runs are all of these studies that lie below `runs/`, also those that failed or were replaced. Time is that of"
        " training, by the clock; device time is that of all devices together; energy is what the GPUs of the node"
        " report. A value that was not measured is not known, and a sum over runs of which some are not known says of"
        " how many it is. Runs that only record what was measured train nothing, and have a dash: their time is that"
        " of the stages below."
    )
    if runs:
        yield Table(_by_stage(reports, runs), wordy=frozenset({1, 3, 6}))
        yield Table(_newest(runs), wordy=frozenset({1, 2, 3}))
    else:
        yield Text("No run of these tracks lies on this machine: what training cost is not known here.")
    if any(report.origin.times for report in reports):
        yield Table(_others(reports), wordy=frozenset({1, 4}))


def _by_stage(reports: Sequence[TrackReport], runs: Sequence[RunSummary]) -> Grid:
    tokens = {(report.track, stage): words for report in reports for stage, words in report.tokens.items()}
    grouped: dict[str, dict[str, list[RunSummary]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: (run.track, run.stage)):
        grouped[run.track][run.stage].append(run)
    rows = []
    for track, stages in grouped.items():
        rows += [_row(track, stage, group, tokens.get((track, stage), UNKNOWN)) for stage, group in stages.items()]
        if len(stages) > 1:
            rows.append(_row(track, "all", [run for group in stages.values() for run in group], "-"))
    return Grid(
        title="runs, by track and stage; tokens are those of the runs that are reported on",
        header=("track", "stage", "runs", "how they stand", "time", "device time", "device", "tokens", "energy, kWh"),
        rows=tuple(rows),
    )


def _row(track: str, stage: str, group: Sequence[RunSummary], tokens: str) -> tuple[str, ...]:
    trained = [run for run in group if not _only_records(run)]
    spent = (
        _sum(trained, lambda run: run.hours, duration),
        _sum(trained, lambda run: run.device_hours, duration),
        _devices(trained),
        tokens,
        _sum(trained, lambda run: run.energy_kwh, amount),
    )
    return (track, stage, f"{len(group):,}", _states(group), *(spent if trained else ["-"] * len(spent)))


def _only_records(run: RunSummary) -> bool:
    """It is over, and no training loss and no device were ever told."""
    return run.status == "FINISHED" and run.device is None and TRAINED not in run.metrics


def _sum(
    group: Sequence[RunSummary], value: Callable[[RunSummary], float | None], words: Callable[[float], str]
) -> str:
    known = [found for found in map(value, group) if found is not None]
    if not known:
        return UNKNOWN
    text = words(sum(known))
    return text if len(known) == len(group) else f"{text} ({len(known):,} of {len(group):,} runs)"


def amount(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(hours: float) -> str:
    """Hours in the unit that a person would say."""
    if hours >= 1:
        return f"{amount(hours)} h"
    return f"{amount(60 * hours)} min" if hours >= 1 / 60 else f"{amount(3600 * hours)} s"


def _states(group: Sequence[RunSummary]) -> str:
    counted = Counter(run.status for run in group)
    if len(counted) == 1:
        return STATES[group[0].status]
    return ", ".join(f"{counted[status]:,} {words}" for status, words in STATES.items() if counted[status])


def _devices(group: Sequence[RunSummary]) -> str:
    named = sorted({f"{run.world} x {run.device}" for run in group if run.device is not None})
    return ", ".join(named) if named else UNKNOWN


def _newest(runs: Sequence[RunSummary]) -> Grid:
    by_track: dict[str, list[RunSummary]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.started_ms, run.label), reverse=True):
        by_track[run.track].append(run)
    cut = {track: len(found) for track, found in by_track.items() if len(found) > SHOWN}
    told = ", ".join(f"{SHOWN} of {number:,} of {track}" for track, number in sorted(cut.items()))
    return Grid(
        title=f"newest runs{f', {told}' if told else ''}; all are in {RUNS}",
        header=("track", "stage", "run", "how it stands", "seed", "begun (UTC)", "time"),
        rows=tuple(
            (
                run.track,
                run.stage,
                f"`{run.run_id}`",
                STATES[run.status],
                str(run.seed),
                moment(run.started_ms)[:16],
                "-" if _only_records(run) else UNKNOWN if run.hours is None else duration(run.hours),
            )
            for track in sorted(by_track)
            for run in by_track[track][:SHOWN]
        ),
    )


def _others(reports: Sequence[TrackReport]) -> Grid:
    return Grid(
        title="other stages, by the clock of the stage as its results state it",
        header=("track", "stage", "results", "time", "device"),
        rows=tuple(
            (report.track, time.stage, f"{time.results:,}", duration(time.seconds / 3600), time.device)
            for report in reports
            for time in report.origin.times
        ),
    )


def moment(milliseconds: int) -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def runs_csv(runs: Sequence[RunSummary]) -> str:
    """A line for each run; what is not known is empty."""
    columns: Mapping[str, Callable[[RunSummary], object]] = {
        "track": lambda run: run.track,
        "stage": lambda run: run.stage,
        "run": lambda run: run.run_id,
        "seed": lambda run: run.seed,
        "status": lambda run: run.status,
        "attempts": lambda run: run.attempts,
        "begun_utc": lambda run: moment(run.started_ms),
        "ended_utc": lambda run: None if run.ended_ms is None else moment(run.ended_ms),
        "world": lambda run: run.world,
        "device": lambda run: run.device,
        "hours": lambda run: run.hours,
        "device_hours": lambda run: run.device_hours,
        "energy_kwh": lambda run: run.energy_kwh,
        "commit": lambda run: run.spec["code"]["commit"],
        "uncommitted": lambda run: run.spec["code"]["dirty_digest"],
        "image": lambda run: run.spec["image"],
        "parent": lambda run: run.spec["parent"],
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for run in sorted(runs, key=lambda run: run.label):
        writer.writerow(["" if (value := column(run)) is None else value for column in columns.values()])
    return text.getvalue()

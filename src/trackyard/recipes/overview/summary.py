"""The head of the report: what it is about, of when and of which code, and the numbers that people ask for first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trackyard.digest import short
from trackyard.recipes.overview.blocks import Block, Bullets, Caveat, Section, Table, Text
from trackyard.recipes.overview.costs import moment
from trackyard.recipes.overview.track import TrackReport
from trackyard.recipes.reporting.grid import Grid
from trackyard.record.comparing.summary import RunSummary
from trackyard.record.image import NO_IMAGE


def summary_section(
    reports: Sequence[TrackReport], runs: Sequence[RunSummary], lacking: Sequence[tuple[str, str]]
) -> Section:
    """lacking: what is not there yet, each with the command that makes it."""
    return Section(anchor="summary", title="Summary", blocks=tuple(_blocks(reports, runs, lacking)))


def _blocks(
    reports: Sequence[TrackReport], runs: Sequence[RunSummary], lacking: Sequence[tuple[str, str]]
) -> Iterator[Block]:
    yield Text(
        "What the studies of this repository came to. Every number is read from what the stages put out and the runs"
        " recorded; nothing is measured for this page. A result that was altered, or is of another run than the tables"
        " beside it, is refused."
    )
    yield Bullets(tuple(_origin(reports, runs)))
    made = [f"{report.track} ({report.made_data})" for report in reports if report.made_data]
    if made:
        yield Caveat(
            f"Made by trackyard itself: {'; '.join(made)}. Such numbers show that the pipelines work and how arms"
            " differ on these toys; they say nothing about the published models and data sets of the same name."
        )
    if lacking:
        yield Caveat(
            "Not in this report: " + "; ".join(f"{what} (`{command}` makes it)" for what, command in lacking) + "."
        )
    yield Table(
        Grid(
            title="headline results",
            header=(
                "study",
                "what was measured",
                "result",
                "95 % interval, or range",
                "against",
                "what it allows to say",
            ),
            rows=tuple(
                (report.track, line.what, line.value, line.interval, line.against, line.says)
                for report in reports
                for line in report.headlines
            ),
        ),
        wordy=frozenset({1, 4, 5}),
        wide=frozenset({1, 4, 5}),
    )


def _origin(reports: Sequence[TrackReport], runs: Sequence[RunSummary]) -> Iterator[str]:
    commits = sorted(set().union(*(report.origin.commits for report in reports)))
    images = sorted(set().union(*(report.origin.images for report in reports)))
    yield f"Tracks: {', '.join(report.track for report in reports)}."
    if runs:
        begun, ended = min(run.started_ms for run in runs), [run.ended_ms for run in runs if run.ended_ms is not None]
        last = f", the last one to end did so on {moment(max(ended))[:16]} UTC" if ended else ""
        yield f"{len(runs):,} runs: the first one began on {moment(begun)[:16]} UTC{last}."
    changed = sum(run.spec["code"]["dirty_digest"] is not None for run in runs)
    yield (
        f"Code: {'commit' if len(commits) == 1 else 'commits'} {', '.join(f'`{short(name)}`' for name in commits)}"
        + (f"; uncommitted changes in {changed:,} of {len(runs):,} runs." if changed else ".")
    )
    named = [f"`{name}`" for name in images if name != NO_IMAGE]
    named += ["no image (what was measured ran outside of one)"] if NO_IMAGE in images else []
    yield f"Image: {', '.join(named)}."

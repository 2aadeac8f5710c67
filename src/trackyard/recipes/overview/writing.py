"""The report as files: index.html, report.md with its figures, metrics.json, runs.csv. Same inputs, same bytes.

`trackyard run all compare` writes it of all tracks, `trackyard report` of those that are there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from trackyard.durable import atomic_directory, write_atomic
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.overview.blocks import Section
from trackyard.recipes.overview.costs import RUNS, cost_section, runs_csv
from trackyard.recipes.overview.html import page
from trackyard.recipes.overview.lineages import lineage_section
from trackyard.recipes.overview.markdown import FIGURES, markdown, pictures
from trackyard.recipes.overview.summary import summary_section
from trackyard.recipes.overview.track import TrackReport
from trackyard.recipes.overview.tracks import ALL, READERS, present, require
from trackyard.record.comparing.summary import RunSummary, read_summaries
from trackyard.record.metrics_file import FILE, read_metrics, write_metrics

TITLE = "trackyard: report of all tracks"
PAGE, MARKDOWN = "index.html", "report.md"
FILES = {PAGE, MARKDOWN, FILE, RUNS, FIGURES}
OUT = Path("report")


def write_report(
    root: Path, out: Path = OUT, *, tracks: Sequence[str] = ALL, say: Callable[[str], None] = lambda line: None
) -> None:
    """Write the report of `tracks`, all of which must be there, into `out`, a folder relative to `root`.

    DataError names what is absent or was altered, and nothing is written then. ConfigError for a folder of other files.
    """
    require(root, tracks)
    _write(root, out, tracks, (), say)


def write_present(root: Path, out: Path = OUT, *, say: Callable[[str], None] = lambda line: None) -> None:
    """The same of whatever is there; the report says what is not. DataError if nothing is."""
    tracks, lacking = present(root)
    if not tracks:
        raise DataError(
            what=f"no track has a result in {root / 'artifacts'}",
            why="there is nothing to report",
            fix="dvc repro compare   (or one of: " + ", ".join(fix for _, fix in lacking) + ")",
        )
    for what, fix in lacking:
        say(f"absent    {what}: {fix}")
    _write(root, out, tracks, lacking, say)


def _write(
    root: Path, out: Path, tracks: Sequence[str], lacking: Sequence[tuple[str, str]], say: Callable[[str], None]
) -> None:
    folder = root / out
    _require_ours(folder)
    reports = [READERS[track].gather(root) for track in READERS if track in tracks]
    runs = [run for run in read_summaries(root / "runs") if run.track in tracks]
    sections = _sections(root, reports, runs, lacking)
    metrics = _metrics(reports)
    # Everything that can be refused was; what lies there is replaced only now.
    files: dict[str, str | bytes] = {
        PAGE: page(TITLE, sections),
        MARKDOWN: markdown(TITLE, sections),
        RUNS: runs_csv(runs),
    }
    for picture in pictures(sections):
        if picture.png is not None:
            files[f"{FIGURES}/{picture.name}.png"] = picture.png
    if folder.exists():
        shutil.rmtree(folder)
    with atomic_directory(folder) as partial:
        (partial / FIGURES).mkdir()
        for name, content in files.items():
            write_atomic(partial / name, content)
        write_metrics(partial / FILE, metrics)
    say(f"report    {', '.join(report.track for report in reports)}; {len(runs):,} runs")
    say(f"{(out / PAGE).as_posix()}, and {MARKDOWN}, {FILE}, {RUNS} beside it")


def _sections(
    root: Path, reports: Sequence[TrackReport], runs: Sequence[RunSummary], lacking: Sequence[tuple[str, str]]
) -> list[Section]:
    return [
        summary_section(reports, runs, lacking),
        *(report.section for report in reports),
        cost_section(reports, runs),
        lineage_section([model for report in reports for model in report.models], root),
    ]


def _metrics(reports: Sequence[TrackReport]) -> dict[str, dict[str, float]]:
    """Headline numbers of all tracks, by track and label, as the track's own metrics.json has them."""
    found: dict[str, dict[str, float]] = {}
    for report in reports:
        for path, label in report.metrics.items():
            values = read_metrics(path)
            if label not in values:
                raise DataError(
                    what=f"{path} has {', '.join(values) or 'nothing'}, and no {label!r}",
                    why="it holds the headline numbers of the track",
                    fix="dvc repro compare",
                )
            found[f"{report.track}/{label}"] = values[label]
    return found


def _require_ours(folder: Path) -> None:
    others = sorted(path.name for path in folder.iterdir() if path.name not in FILES) if folder.is_dir() else []
    if others or folder.is_file():
        raise ConfigError(
            what=f"{folder} holds {', '.join(others[:4]) or 'no folder but a file'}, which is no part of a report",
            why="the folder is replaced as a whole, and that would be lost",
            fix="trackyard report --out report",
        )

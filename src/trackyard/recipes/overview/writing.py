"""The report as files: index.html, report.md with its figures, metrics.json, runs.csv. Same inputs, same bytes.

`trackyard run all compare` writes it of all tracks, `trackyard report` of those that are there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trackyard.durable import TEMPORARY, fsync_directory, sweep, write_atomic
from trackyard.errors import ConfigError, DataError
from trackyard.exclusive import exclusive
from trackyard.recipes.overview.blocks import Section
from trackyard.recipes.overview.costs import RUNS, cost_section, runs_csv
from trackyard.recipes.overview.html import GENERATOR, page
from trackyard.recipes.overview.lineages import lineage_section
from trackyard.recipes.overview.markdown import FIGURES, markdown, pictures
from trackyard.recipes.overview.summary import summary_section
from trackyard.recipes.overview.track import TrackReport
from trackyard.recipes.overview.tracks import ALL, READERS, present, require
from trackyard.recipes.reporting.labelled import labelled_metrics
from trackyard.record.comparing.summary import RunSummary, read_summaries
from trackyard.record.metrics_file import FILE, write_metrics

PAGE, MARKDOWN = "index.html", "report.md"
LOCK = ".report.lock"
FILES = {PAGE, MARKDOWN, FILE, RUNS}
"""Beside figures/*.png."""
OUT = Path("report")


def write_report(
    root: Path, out: Path = OUT, *, tracks: Sequence[str] = ALL, say: Callable[[str], None] = lambda line: None
) -> None:
    """Write the report of `tracks`, all of which must be there, into `out`, a folder relative to `root`.

    DataError names what is absent or was altered, and nothing is written then. ConfigError for a folder of other files.
    """
    require(root, tracks)
    others = [(f"{track}, which was not asked for", "trackyard report") for track in ALL if track not in tracks]
    _write(root, out, tracks, _runs(root, tracks), others, say)


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
    # What a track cost so far is told, also where it has no result yet.
    _write(root, out, tracks, _runs(root, ALL), lacking, say)


def _runs(root: Path, tracks: Sequence[str]) -> list[RunSummary]:
    return [run for run in read_summaries(root / "runs") if run.track in tracks]


def _write(
    root: Path,
    out: Path,
    tracks: Sequence[str],
    runs: Sequence[RunSummary],
    lacking: Sequence[tuple[str, str]],
    say: Callable[[str], None],
) -> None:
    folder = (root / out).resolve()
    _require_ours(folder)
    reports = [READERS[track].gather(root) for track in READERS if track in tracks]
    sections = _sections(root, reports, runs, lacking)
    title = f"trackyard: report of {'all tracks' if not lacking else ', '.join(report.track for report in reports)}"
    files: dict[str, str | bytes] = {
        PAGE: page(title, sections),
        MARKDOWN: markdown(title, sections),
        RUNS: runs_csv(runs),
    }
    for picture in pictures(sections):
        if picture.png is not None:
            files[f"{FIGURES}/{picture.name}.png"] = picture.png
    metrics = _metrics(reports)
    with exclusive(root / "runs" / LOCK, what="the report", why="each would replace what the other one writes"):
        _replace(folder, files, metrics)
    say(f"report    {', '.join(report.track for report in reports)}; {len(runs):,} runs")
    say(f"{(out / PAGE).as_posix()}, and {MARKDOWN}, {FILE}, {RUNS} beside it")


def _replace(folder: Path, files: Mapping[str, str | bytes], metrics: Mapping[str, Mapping[str, float]]) -> None:
    """The earlier report stays as it was until the new one is whole on disk. The caller holds the lock."""
    whole, earlier = (folder.with_name(f"{TEMPORARY}{folder.name}.{name}.{os.getpid()}") for name in ("new", "old"))
    (whole / FIGURES).mkdir(parents=True)
    try:
        for name, content in files.items():
            write_atomic(whole / name, content)
        write_metrics(whole / FILE, metrics)
    except BaseException:
        shutil.rmtree(whole)
        raise
    if folder.exists():
        os.replace(folder, earlier)
    os.replace(whole, folder)
    fsync_directory(folder.parent)
    # What a kill left of earlier ones goes, too.
    sweep(folder.parent, folder.name)


def _sections(
    root: Path, reports: Sequence[TrackReport], runs: Sequence[RunSummary], lacking: Sequence[tuple[str, str]]
) -> list[Section]:
    return [
        summary_section(reports, runs, lacking),
        *(report.section for report in reports),
        cost_section(reports, runs),
        lineage_section(
            [model for report in reports for model in report.models],
            [list(report.metrics)[-1] for report in reports],
            root,
        ),
    ]


def _metrics(reports: Sequence[TrackReport]) -> dict[str, dict[str, float]]:
    """Headline numbers of all tracks, by track and label, as the track's own metrics.json has them."""
    found: dict[str, dict[str, float]] = {}
    for report in reports:
        for path, label in report.metrics.items():
            found[f"{report.track}/{label}"] = labelled_metrics(path, label, fix="dvc repro compare")
    return found


def _require_ours(folder: Path) -> None:
    """ConfigError unless nothing lies there, or a report that was written here and nothing else."""
    problem = _foreign(folder)
    if problem:
        raise ConfigError(
            what=f"{folder} {problem}",
            why="the folder is replaced as a whole, and that would be lost",
            fix=f"mv {folder} {folder}.kept   (or another folder: trackyard report --out {folder.name}-2)",
        )


def _foreign(folder: Path) -> str:
    """What lies there that is no part of a report, "" for nothing."""
    if folder.is_file():
        return "is no folder but a file"
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    others = [path.as_posix() for path in found if path.as_posix() not in FILES and not path.match(f"{FIGURES}/*.png")]
    if others:
        return f"holds {', '.join(others[:4])}, which is no part of a report"
    first = folder / PAGE
    if found and not (first.is_file() and GENERATOR in first.read_text(encoding="utf-8", errors="replace")):
        return f"holds {found[0].as_posix()}, and no {PAGE} that trackyard wrote"
    return ""

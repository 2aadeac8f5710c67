"""`trackyard catalog`: whether the catalogue is whole."""

from __future__ import annotations

import sys

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import as_fields, print_json, size
from trackyard.cli.root import repository_root

app = typer.Typer(help="What data exist, and what the sources say of them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `check` a subcommand."""


@app.command()
def check(as_json: AsJson = False) -> None:
    """Prove names, counts and sums of the catalogue; count what nobody has settled; list what sources contradict."""
    from trackyard.catalog.check import check_catalogue

    report = check_catalogue(repository_root() / "catalog")
    if as_json:
        print_json({"schema": "trackyard-catalogue-check/1", "ok": report.ok} | as_fields(report))
        sys.exit(0 if report.ok else 1)
    print(f"{report.entries} entries in {report.files} files")
    row = "{:24} {:>9} {:>11} {:>7}   {:>9} {:>11} {:>7}"
    print(row.format("group of stage 2", "datasets", "examples", "rate %", "reference", "examples", "rate %"))
    for count in report.groups:
        printed = "" if count.expected_percent is None else f"{count.expected_percent:.1f}"
        print(
            row.format(
                count.group,
                count.datasets,
                f"{count.examples:,}",
                f"{count.rate_percent:.2f}",
                count.expected_datasets if count.expected_datasets is not None else "none",
                f"{count.expected_examples:,}" if count.expected_examples is not None else "none",
                printed,
            )
        )
    print(f"selections: {', '.join(f'{name} {count}' for name, count in report.selections.items())}")
    print(f"access of stage 2's datasets: {', '.join(f'{way} {count}' for way, count in report.access.items())}")
    print(f"names of the founding documents: {report.resolved} lead to an entry, {len(report.unresolved)} do not")
    print(
        f"hub revisions: {report.pinned} pinned, {report.unpinned} unpinned; {report.unknown_licences} licences unknown"
    )
    founding, nine = report.founding, report.nine
    print(
        f"sizes that the founding documents state: stage 1 {size(founding.stage1_bytes)}, "
        f"stage 2 {size(founding.stage2_bytes)}, both {size(founding.union_bytes)}; "
        f"nine datasets: {nine.caches} caches {size(nine.cache_bytes)}, {nine.samples:,} samples"
    )
    for sentence in report.contradictions:
        print(f"contradiction: {sentence}")
    for problem in report.problems:
        print(f"problem: {problem}")
    print(f"{len(report.problems)} problems, {len(report.contradictions)} contradictions")
    sys.exit(0 if report.ok else 1)

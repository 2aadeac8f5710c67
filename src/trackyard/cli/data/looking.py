"""`trackyard data inspect`: see what a dataset holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import print_json


def inspect(
    path: Annotated[Path, typer.Argument(help="a snapshot, a dataset of one, or a Parquet, Arrow or JSONL file")],
    dataset: Annotated[str | None, typer.Option(help="one dataset of the snapshot")] = None,
    split: Annotated[str | None, typer.Option(help="one split")] = None,
    samples: Annotated[int, typer.Option(help="rows to look at, of each split", min=1)] = 6,
    out: Annotated[Path, typer.Option(help="folder for index.html and sheet.png")] = Path("inspection"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write nothing, say what would be written")] = False,
    as_json: AsJson = False,
) -> None:
    """Count rows, columns and media, decode some samples, and show them as a page and as a contact sheet."""
    from trackyard.snapshot.contact_sheet import contact_sheet
    from trackyard.snapshot.inspect import inspect_path
    from trackyard.snapshot.inspect_page import write_page

    found = inspect_path(path, samples=samples, split=split, dataset=dataset)
    written = [out / "index.html", *([out / "sheet.png"] if found.decoded else [])]
    if not dry_run:
        write_page(found, written[0])
        if found.decoded:
            contact_sheet(found, written[1])
    if as_json:
        print_json({"schema": "trackyard-inspection/1"} | found.document() | {"written": written, "dry_run": dry_run})
        return
    for facts in found.facts:
        place = f"{facts.name}/{facts.split}" if facts.split else facts.name
        media = ", ".join(f"{count:,} {kind}" for kind, count in facts.media.items()) or "no media"
        print(f"{place:40} {facts.rows:>9,} rows {facts.bytes / 1e6:>9,.1f} MB  {media}")
    print(f"{len(found.samples)} rows sampled, {found.decoded} pictures decoded, {found.undecodable} undecodable")
    for name in written:
        print(f"{'would write' if dry_run else 'wrote'} {name}")

"""`trackyard data`: bring data in and prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trackyard.errors import ConfigError

app = typer.Typer(help="Snapshots: make, import, prove.", no_args_is_help=True)


@app.command()
def mini(
    target: Annotated[Path, typer.Argument(help="directory of the snapshot")] = Path("data/mini"),
) -> None:
    """Generate the mini snapshot anew; every dataset directory must be absent."""
    from trackyard.acquire.mini import LICENCE, SOURCE
    from trackyard.acquire.mini.datasets import MINI
    from trackyard.snapshot.writer import write_dataset

    _refuse_existing(target, list(MINI))
    for name, dataset in MINI.items():
        manifest = write_dataset(
            target / name,
            {split: dataset.rows(split) for split in dataset.sizes},
            dataset=name,
            source=SOURCE,
            licence=LICENCE,
        )
        size = sum(entry.bytes for entry in manifest.files)
        print(f"{name:24} {sum(manifest.splits.values()):>6,} rows {size / 1e6:6.2f} MB")


@app.command("import")
def import_(
    mapping: Annotated[Path, typer.Argument(help="mapping file that names the fields")],
    base: Annotated[Path, typer.Option(help="directory that the mapping's paths are relative to")] = Path(),
    target: Annotated[Path, typer.Option(help="directory of the snapshot")] = Path("data/own"),
) -> None:
    """Turn JSONL, Parquet or text plus a media folder into a dataset of a snapshot."""
    from trackyard.acquire.importing import open_import
    from trackyard.snapshot.writer import write_dataset

    stream = open_import(mapping, base)
    _refuse_existing(target, [stream.dataset])
    manifest = write_dataset(
        target / stream.dataset,
        stream.splits(),
        dataset=stream.dataset,
        source=stream.source,
        licence=stream.licence,
        exclusions=stream.unusable,
    )
    for split, rows in manifest.splits.items():
        print(f"{stream.dataset}/{split}: {rows:,} rows")
    for line in stream.report():
        print(line)


@app.command()
def verify(
    target: Annotated[Path, typer.Argument(help="directory of the snapshot")] = Path("data/mini"),
) -> None:
    """Re-hash every file against its manifest; ends in proved, or names what is wrong."""
    from trackyard.snapshot.reader import open_snapshot
    from trackyard.snapshot.verify import verify_dataset

    found = [verify_dataset(target / name) for name in open_snapshot(target, None)]
    print(
        f"proved: {len(found)} datasets, {sum(item.files for item in found)} files, "
        f"{sum(item.rows for item in found):,} rows, {sum(item.bytes for item in found):,} bytes"
    )


def _refuse_existing(target: Path, names: list[str]) -> None:
    present = [name for name in names if (target / name).exists()]
    if present:
        raise ConfigError(
            what=f"{target} already holds {', '.join(present)}",
            why="datasets of a snapshot are immutable; nothing is overwritten",
            fix="name another directory, or remove these first",
        )

"""`trackyard data import|mini`: rows of your own, and the generated ones."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.data.making import (
    MADE,
    PROCESSES,
    SHARD_BYTES,
    DryRun,
    MaxBad,
    MaxFiles,
    ShardBytes,
    Strict,
    Workers,
    build,
    document,
    rehearse,
)
from trackyard.cli.printing import print_json
from trackyard.cli.stopping import resumable
from trackyard.errors import ConfigError


def mini(
    target: Annotated[Path, typer.Argument(help="directory of the snapshot")] = Path("data/mini"),
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Generate the mini snapshot anew; every dataset directory must be absent."""
    from trackyard.acquire.mini import LICENCE, SOURCE
    from trackyard.acquire.mini.datasets import MINI
    from trackyard.snapshot.writer import write_dataset

    _refuse_existing(target, list(MINI))
    documents = []
    for name, dataset in MINI.items():
        if dry_run:
            documents.append({"dataset": name, "directory": target / name, "splits": dict(dataset.sizes)})
            if not as_json:
                print(f"would write {target / name}: {sum(dataset.sizes.values()):,} rows")
            continue
        manifest = write_dataset(
            target / name,
            {split: dataset.rows(split) for split in dataset.sizes},
            dataset=name,
            source=SOURCE,
            licence=LICENCE,
        )
        stored = sum(entry.bytes for entry in manifest.files)
        documents.append({"dataset": name, "directory": target / name, "splits": dict(manifest.splits)})
        if not as_json:
            print(f"{name:24} {sum(manifest.splits.values()):>6,} rows {stored / 1e6:6.2f} MB")
    if as_json:
        print_json({"schema": MADE, "dry_run": dry_run, "datasets": documents})


def import_(
    mapping: Annotated[Path, typer.Argument(help="mapping file that names the fields")],
    base: Annotated[Path, typer.Option(help="directory that the mapping's paths are relative to")] = Path(),
    target: Annotated[Path, typer.Option(help="directory of the snapshot")] = Path("data/own"),
    images: Annotated[Path | None, typer.Option(help="folder of images fetched by their addresses")] = None,
    workers: Workers = PROCESSES,
    strict: Strict = False,
    max_bad_records: MaxBad = None,
    max_files: MaxFiles = None,
    shard_bytes: ShardBytes = SHARD_BYTES,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Turn JSONL, Parquet or text plus a media folder into a dataset of a snapshot."""
    from trackyard.acquire.importing.parts import plan_import
    from trackyard.acquire.importing.stream import open_import

    planned = plan_import(mapping, base, shard_bytes=shard_bytes, images=images)
    directory = target / planned.dataset
    _refuse_existing(target, [planned.dataset])
    limits = {"strict": strict, "max_bad_records": max_bad_records, "max_files": max_files, "shard_bytes": shard_bytes}
    if dry_run:
        made = rehearse(planned, directory, limits)
        # Every record is converted and every medium decoded, as the real run would; only nothing is written.
        stream = open_import(mapping, base, images=images, strict=strict, max_bad_records=max_bad_records)
        counts = {split: sum(1 for _ in rows) for split, rows in stream.splits().items()}
        if as_json:
            made |= {"splits": counts, "exclusions": dict(stream.unusable)}
            print_json({"schema": MADE, "dry_run": True, "datasets": [made]})
            return
        for split, rows in counts.items():
            print(f"{stream.dataset}/{split}: {rows:,} rows would be written to {directory}")
        for line in stream.report():
            print(line)
        return
    with resumable():
        manifest, account = build(planned, directory, workers, limits)
    if as_json:
        made = document(planned.dataset, directory, manifest, "written")
        print_json({"schema": MADE, "dry_run": False, "datasets": [made]})
        return
    for split, rows in manifest.splits.items():
        print(f"{planned.dataset}/{split}: {rows:,} rows")
    used = ", ".join(f"{rows:,} {split}" for split, rows in manifest.splits.items())
    print(f"rows used: {used}; records left out: {account.unusable.total():,}")
    for line in account.lines():
        print(line)


def _refuse_existing(target: Path, names: list[str]) -> None:
    present = [name for name in names if (target / name).exists()]
    if present:
        folders = shlex.join(str(target / name) for name in present)
        raise ConfigError(
            what=f"{target} already holds {', '.join(present)}",
            why="datasets of a snapshot are immutable; nothing is overwritten",
            fix=f"name another directory, or remove these first: rm -r {folders}",
        )

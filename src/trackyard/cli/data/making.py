"""`trackyard data snapshot`: what was fetched becomes rows in shards."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import Failures, print_json, size
from trackyard.cli.root import repository_root
from trackyard.cli.stopping import resumable
from trackyard.errors import ConfigError, DataError, StoppedEarly, TrackyardError

if TYPE_CHECKING:
    from trackyard.acquire.importing.account import Account
    from trackyard.acquire.importing.parts import ImportPlan
    from trackyard.acquire.places import Places
    from trackyard.catalog.entries import Entry
    from trackyard.snapshot.manifest import Manifest

MADE = "trackyard-snapshot-made/1"
SHARD_BYTES = 256_000_000
"""As snapshot/writer.py has it, which imports more than help may."""
PROCESSES = os.cpu_count() or 1

DryRun = Annotated[bool, typer.Option("--dry-run", help="change nothing, print what would be done")]
Workers = Annotated[int, typer.Option(help="processes", min=1)]
Strict = Annotated[bool, typer.Option("--strict", help="stop at the first record that cannot become a row")]
MaxBad = Annotated[float | None, typer.Option(help="largest share of bad records", min=0, max=1)]
MaxFiles = Annotated[int | None, typer.Option(help="most files that a dataset may be", min=1)]
ShardBytes = Annotated[int, typer.Option(help="bytes of a shard", min=1)]


def snapshot(
    names: Annotated[list[str], typer.Argument(help="selections or entries that were fetched")],
    target: Annotated[Path, typer.Option(help="directory of the snapshot")] = Path("data/molmo2"),
    workers: Workers = PROCESSES,
    strict: Strict = False,
    max_bad_records: MaxBad = None,
    max_files: MaxFiles = None,
    shard_bytes: ShardBytes = SHARD_BYTES,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Turn what was fetched into datasets of a snapshot. What is complete is left alone; a killed build goes on."""
    from trackyard.acquire.places import Places
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import select
    from trackyard.snapshot.manifest import NAME, Manifest

    root = repository_root()
    catalogue = load_catalogue(root / "catalog")
    limits = {"strict": strict, "max_bad_records": max_bad_records, "max_files": max_files, "shard_bytes": shard_bytes}

    def make(entry: Entry) -> dict[str, Any]:
        directory = target / entry.name
        if (directory / NAME).is_file():
            return document(entry.name, directory, Manifest.read(directory), "there already")
        planned = _planned(entry, catalogue, Places.of(root), root, shard_bytes)
        if dry_run:
            return rehearse(planned, directory, limits)
        manifest, _ = build(planned, directory, workers, limits)
        return document(entry.name, directory, manifest, "written")

    entries = _with_mapping(select(catalogue, names), root)
    documents: list[Any] = []
    failures = Failures()
    entry: Entry | None = None
    try:
        with resumable():
            for entry in entries:
                try:
                    documents.append(make(entry))
                except TrackyardError as error:
                    # The other datasets do not depend on this one.
                    failures.add(error, dataset=entry.name)
                    continue
                if not as_json:
                    _say(documents[-1])
    except StoppedEarly as stop:
        failures.add(stop, dataset=entry.name if entry else "")
    if as_json:
        print_json({"schema": MADE, "dry_run": dry_run, "datasets": documents, "stopped": failures.document()})
    sys.exit(failures.exit_code)


def _with_mapping(entries: tuple[Entry, ...], root: Path) -> tuple[Entry, ...]:
    """Entries that a mapping file turns into rows; ConfigError that names all that have none."""
    without = [entry.name for entry in entries if not _mapping(entry, root).is_file()]
    if without:
        raise ConfigError(
            what=f"no mapping file for {', '.join(without)}",
            why="nobody has established which of their columns hold media, questions and answers; a guess is not data",
            fix=f"write catalog/mappings/{without[0]}.yaml (examples/import shows how), or name other entries",
        )
    return entries


def _mapping(entry: Entry, root: Path) -> Path:
    return root / "catalog" / "mappings" / f"{entry.name}.yaml"


def _planned(entry: Entry, catalogue: dict[str, Entry], places: Places, root: Path, shard_bytes: int) -> ImportPlan:
    from trackyard.acquire.fetching import IMAGES
    from trackyard.acquire.importing.parts import plan_import

    if not entry.hub:
        raise DataError(
            what=f"{entry.name} has no hub repository to read its records from",
            why="a mapping reads the tables of one",
            fix=f"trackyard data import {_mapping(entry, root)} --base FOLDER",
        )
    images = places.raw / entry.name / IMAGES
    if entry.recipe.kind == "urls" and not images.is_dir():
        raise DataError(
            what=f"the images of {entry.name} were not fetched: {images} does not exist",
            why="without them every record would be left out",
            fix=f"trackyard data fetch {entry.name}",
        )
    needed = [catalogue[name] for name in entry.needs if catalogue[name].hub]
    return plan_import(
        _mapping(entry, root),
        _tables(entry, places),
        shard_bytes=shard_bytes,
        images=images if images.is_dir() else None,
        entries={other.name: _tables(other, places) for other in needed},
    )


def _tables(entry: Entry, places: Places) -> Path:
    """The folder of an entry's first repository; DataError with the command that brings it."""
    from trackyard.acquire.hub.fetch import read_record

    try:
        return read_record(entry.hub[0], places.hub).directory
    except DataError as error:
        raise DataError(what=error.what, why=error.why, fix=f"trackyard data fetch {entry.name}") from error


def rehearse(planned: ImportPlan, directory: Path, limits: dict[str, Any]) -> dict[str, Any]:
    """What a build would be, refused where the build itself would be before its first record."""
    from trackyard.snapshot.file_budget import check_file_budget
    from trackyard.snapshot.writer import refuse_existing

    stored = sum(part.size for part in planned.parts)
    check_file_budget(planned.dataset, stored, max_files=limits["max_files"], shard_bytes=limits["shard_bytes"])
    refuse_existing(directory)
    return {
        "dataset": planned.dataset, "directory": directory, "state": "would be written", "parts": len(planned.parts),
        "bytes": stored,
    }  # fmt: skip


def build(planned: ImportPlan, directory: Path, workers: int, limits: dict[str, Any]) -> tuple[Manifest, Account]:
    from trackyard.acquire.importing.account import Account
    from trackyard.cli.watching import Bar
    from trackyard.snapshot.build import build_dataset

    account = Account()
    with Bar(planned.dataset, "bytes") as bar:
        manifest = build_dataset(
            directory,
            planned.parts,
            dataset=planned.dataset,
            source=planned.source,
            licence=planned.licence,
            workers=workers,
            account=account,
            progress=bar.at,
            **limits,
        )
    return manifest, account


def document(name: str, directory: Path, manifest: Manifest, state: str) -> dict[str, Any]:
    return {
        "dataset": name,
        "directory": directory,
        "state": state,
        "splits": dict(manifest.splits),
        "files": len(manifest.files),
        "exclusions": dict(manifest.exclusions),
        "fingerprint": manifest.fingerprint,
    }


def _say(made: dict[str, Any]) -> None:
    if "splits" not in made:
        print(f"would write {made['directory']} from {made['parts']} parts, about {size(made['bytes'])}")
        return
    rows = ", ".join(f"{count:,} {split}" for split, count in made["splits"].items())
    print(f"{made['dataset']}: {rows} rows in {made['files']} files, {made['state']}", flush=True)
    for reason, count in made["exclusions"].items():
        print(f"  left out: {count:,} × {reason}")

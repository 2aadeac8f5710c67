"""Building a dataset of a snapshot from many parts: parallel, resumable after any kill, the same bytes every time.

Whatever the number of workers and of interruptions, the result is a function of the parts. Source: design section 4,
pain 4, reliability spec F1.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from trackyard import __version__
from trackyard.acquire.importing.account import Account
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file, sweep
from trackyard.errors import DataError
from trackyard.exclusive import exclusive
from trackyard.schema import read_document, write_document
from trackyard.snapshot import writer
from trackyard.snapshot.assembly import assemble, check_ids
from trackyard.snapshot.columns import SCHEMA
from trackyard.snapshot.file_budget import check_file_budget
from trackyard.snapshot.manifest import NAME, Manifest
from trackyard.snapshot.units import RowSource, Unit, Written, read_unit, units_of
from trackyard.snapshot.workers import write_units
from trackyard.snapshot.writer import SHARD_BYTES, refuse_existing, without_rows

JOB_SCHEMA = "trackyard-build/1"
JOB = "job.json"


def work_directory(directory: Path) -> Path:
    """Where an unfinished build of a dataset lies: beside it, and ignored by every reader."""
    return directory.with_name(f"{TEMPORARY}{directory.name}.build")


def build_dataset(
    directory: Path,
    parts: Sequence[RowSource],
    *,
    dataset: str,
    source: Mapping[str, Any],
    licence: str,
    workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    max_files: int | None = None,
    strict: bool = False,
    max_bad_records: float | None = None,
    account: Account | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write `directory` (which must not exist) from `parts`, in their order.

    A process killed at any moment is continued by the same call: parts that are done are proved by their digests and
    kept; if parts, their inputs or the arguments that decide the bytes have changed, all is made anew. Each worker
    holds one row group per split.
    max_files: most files the dataset may be; refused before anything is written. strict: stop at the first bad record.
    max_bad_records: largest share of bad records. account: filled with what was used and left out.
    progress: called with (bytes done, bytes in all), as the parts state them.
    DataError for an existing directory, an id that two rows share (both places named), or no row at all.
    """
    work = work_directory(directory)
    check_file_budget(dataset, sum(part.size for part in parts), max_files=max_files, shard_bytes=shard_bytes)
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = directory.with_name(f"{TEMPORARY}{directory.name}.lock")
    with exclusive(lock, what=f"the build of {directory}", why="two builds would write the same files"):
        if (directory / NAME).is_file() and work.exists():
            shutil.rmtree(work)  # killed after the last rename: the dataset is complete
        refuse_existing(directory)
        units = units_of(parts, shard_bytes)
        _open_job(work, dataset, source, licence, shard_bytes, units)
        written = _written(work, units, workers, shard_bytes, strict=strict, progress=progress)
        total = _accounts(written, account)
        if not any(found.files for found in written):
            # Nothing to go on with: other inputs would begin anew.
            shutil.rmtree(work)
            lock.unlink()
            raise without_rows(dataset, total.unusable)
        total.check_budget(dataset, max_bad_records)
        check_ids(work, units, dataset)
        manifest = _finish(work, directory, units, written, shard_bytes, total, (dataset, source, licence))
        shutil.rmtree(work)
        # Whoever takes the lock on the old file or a new one finds a dataset that exists already.
        lock.unlink()
    return manifest


def _open_job(
    work: Path, dataset: str, source: Mapping[str, Any], licence: str, shard_bytes: int, units: Sequence[Unit]
) -> None:
    """Continue the job that lies there if it is this one, else begin anew."""
    job = {
        "dataset": dataset,
        "source": dict(source),
        "licence": licence,
        "shard_bytes": shard_bytes,
        # What the same rows become on disk.
        "form": [__version__, pa.__version__, str(SCHEMA), writer.ROWS_WITH_IMAGES, writer.ROWS_WITH_VIDEOS],
        "units": [
            [{"name": part.name, "size": part.size, "inputs": dict(sorted(part.inputs.items()))} for part in unit.parts]
            for unit in units
        ],
    }
    if work.exists() and not _is_same(work / JOB, job):
        shutil.rmtree(work)
    (work / "units").mkdir(parents=True, exist_ok=True)
    sweep(work / "units")
    if not (work / JOB).is_file():
        write_document(work / JOB, JOB_SCHEMA, job)


def _is_same(path: Path, job: Mapping[str, Any]) -> bool:
    try:
        found = read_document(path, JOB_SCHEMA, fix="repeat the same command")
    except DataError:
        return False
    plain: dict[str, Any] = json.loads(json.dumps(job))
    return {key: value for key, value in found.items() if key != "schema"} == plain


def _written(
    work: Path,
    units: Sequence[Unit],
    workers: int,
    shard_bytes: int,
    *,
    strict: bool,
    progress: Callable[[int, int], None] | None,
) -> list[Written]:
    """What every unit became; those that are not there, or not whole, are made."""
    known = {unit.number: read_unit(work, unit) for unit in units}
    missing = [unit for unit in units if known[unit.number] is None]
    for unit in missing:
        if unit.path(work).exists():
            shutil.rmtree(unit.path(work))
    total = sum(unit.size for unit in units)
    done = total - sum(unit.size for unit in missing)
    if progress is not None:
        progress(done, total)
    for unit in write_units(work, missing, workers=workers, shard_bytes=shard_bytes, strict=strict):
        known[unit.number] = read_unit(work, unit)
        done += unit.size
        if progress is not None:
            progress(done, total)
    found = [written for unit in units if (written := known[unit.number]) is not None]
    if len(found) < len(units):
        raise DataError(
            what=f"{len(units) - len(found)} of {len(units)} parts of {work} do not read back as they were written",
            why="the disk, or another process, changes bytes",
            fix="check the disk, then repeat the same command: only those parts are made again",
        )
    return found


def _accounts(written: Sequence[Written], account: Account | None) -> Account:
    total = account if account is not None else Account()
    for found in written:
        total.add(Account.of(found.account))
    return total


def _finish(
    work: Path,
    directory: Path,
    units: Sequence[Unit],
    written: Sequence[Written],
    shard_bytes: int,
    total: Account,
    named: tuple[str, Mapping[str, Any], str],
) -> Manifest:
    files = assemble(work, units, written, shard_bytes=shard_bytes)
    splits = sorted({entry.split for entry in files})
    dataset, source, licence = named
    manifest = Manifest(
        dataset=dataset,
        source=dict(source),
        licence=licence,
        splits={split: sum(entry.rows for entry in files if entry.split == split) for split in splits},
        files=tuple(files),
        exclusions=dict(sorted(total.unusable.items())),
    )
    out = work / "dataset"
    manifest.write(out)
    fsync_file(out / NAME)
    fsync_directory(out)
    os.replace(out, directory)
    fsync_directory(directory.parent)
    return manifest

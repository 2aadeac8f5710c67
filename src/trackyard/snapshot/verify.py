"""Proof that a dataset's bytes are those of its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.snapshot.manifest import RESTORE, FileEntry, Manifest


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was proved: every file of a dataset."""

    dataset: str
    files: int
    rows: int
    bytes: int


def verify_dataset(directory: Path, *, restore: str = RESTORE) -> Verified:
    """Re-hash every file. DataError lists each one that differs, with both digests, or says that there is none.

    A Parquet file that the manifest does not name counts as a difference: a stock reader would load it.
    """
    manifest = Manifest.read(directory, restore=restore)
    problems = [problem for entry in manifest.files for problem in _problems(directory, entry)]
    known = {entry.path for entry in manifest.files}
    problems += [
        f"{path}: not in the manifest"
        for path in sorted(directory.rglob("*.parquet"))
        if str(path.relative_to(directory)) not in known
    ]
    if not manifest.files:
        problems.append(f"{directory}: the manifest lists no files")
    if problems:
        raise DataError(
            what="\n      ".join(problems),
            why="these bytes are not the ones that the manifest names; nothing is trained on them",
            fix=restore,
        )
    return Verified(
        dataset=manifest.dataset,
        files=len(manifest.files),
        rows=sum(entry.rows for entry in manifest.files),
        bytes=sum(entry.bytes for entry in manifest.files),
    )


def _problems(directory: Path, entry: FileEntry) -> list[str]:
    path = directory / entry.path
    if not path.is_file():
        return [f"{path}: absent, expected blake3 {entry.blake3}"]
    try:
        size, found = path.stat().st_size, digest_file(path)
        if size != entry.bytes or found != entry.blake3:
            return [f"{path}: blake3 {found} ({size} bytes), expected {entry.blake3} ({entry.bytes} bytes)"]
        rows = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        return [f"{path}: {error}, expected blake3 {entry.blake3}"]
    return [] if rows == entry.rows else [f"{path}: {rows} rows, the manifest says {entry.rows}"]

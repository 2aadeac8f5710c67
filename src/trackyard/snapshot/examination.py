"""Everything that is wrong with a dataset of a snapshot, each with what puts right exactly that.

Source: reliability spec F6, F8, F9 and F27.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.files.tree import FileDigest, FileManifest, FilesReport, Mode, verify_files
from trackyard.snapshot.columns import SCHEMA
from trackyard.snapshot.dangling import Dangling, find_dangling
from trackyard.snapshot.decoding import Decode, decode_rows
from trackyard.snapshot.manifest import NAME, RESTORE, FileEntry, Manifest
from trackyard.snapshot.reader import SnapshotDataset

Progress = Callable[[str, Literal["bytes", "rows"], int, int], None]
"""Told the dataset, what is counted (bytes read, rows decoded), how many are done, of how many."""

SHOWN = 3
"""Rows of one file that are named; of the others their number is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """How thoroughly to look. mode, cache: see `acquire.files.verify_files`; what texts refer to is looked at in full
    mode. decode: rows of a dataset whose media are decoded. restore: the command for a manifest that is no good."""

    mode: Mode = "full"
    decode: Decode = 0
    workers: int | None = None
    progress: Progress | None = None
    cache: Path | None = None
    restore: str = RESTORE


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """path: what is wrong. what: the line for people. repair: what puts right exactly this. restorable: whether
    bringing back the bytes of the manifest does."""

    path: Path
    what: str
    repair: str
    restorable: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was looked at. files, rows, bytes: of the manifest. hashed, trusted: files that were read, and files that
    were not because they look as they did when last proved (fast mode). decoded: rows whose media were decoded."""

    dataset: str
    files: int
    rows: int
    bytes: int
    hashed: int
    trusted: int
    decoded: int
    extra: tuple[str, ...] = ()
    """Files that the manifest does not name and that no reader loads; another Parquet file is a problem instead."""
    notes: tuple[str, ...] = ()
    """What could not be seen, or is unusual without being wrong."""


@dataclass(slots=True)
class Findings:
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    decoded: int = 0


def examine(directory: Path, how: Examination) -> tuple[Verified, list[Problem]]:
    """Look at a dataset. DataError only where there is no usable manifest to compare it with."""
    manifest = Manifest.read(directory, restore=how.restore)
    report = _prove_bytes(directory, manifest, how)
    findings = Findings(notes=list(report.notes))
    findings.problems += _of_files(directory, manifest, report)
    bad = {*report.missing, *(changed.path for changed in report.changed)}
    _look_into(directory, [entry for entry in manifest.files if entry.path not in bad], how, findings)
    if how.decode and not findings.problems:
        _decode(directory, manifest, how, findings)
    elif how.decode:
        findings.notes.append("no row was decoded: the problems come first")
    verified = Verified(
        dataset=manifest.dataset,
        files=len(manifest.files),
        rows=sum(entry.rows for entry in manifest.files),
        bytes=sum(entry.bytes for entry in manifest.files),
        hashed=report.hashed,
        trusted=report.trusted,
        decoded=findings.decoded,
        extra=tuple(path for path in report.extra if not path.endswith(".parquet")),
        notes=tuple(findings.notes),
    )
    return verified, findings.problems


def _prove_bytes(directory: Path, manifest: Manifest, how: Examination) -> FilesReport:
    total = sum(entry.bytes for entry in manifest.files)

    def report(_: int, done: int) -> None:
        if how.progress is not None:
            how.progress(manifest.dataset, "bytes", done, total)

    return verify_files(
        directory,
        mode=how.mode,
        manifest=FileManifest(
            name=manifest.dataset,
            source=manifest.source,
            files=tuple(FileDigest(entry.path, entry.bytes, entry.blake3) for entry in manifest.files),
        ),
        workers=how.workers,
        progress=report,
        ignore=lambda path: path == NAME,
        cache=how.cache,
    )


def _of_files(directory: Path, manifest: Manifest, report: FilesReport) -> Iterator[Problem]:
    digests = {entry.path: entry.blake3 for entry in manifest.files}
    for path in report.missing:
        what = f"{directory / path}: absent, expected blake3 {digests[path]}"
        yield Problem(path=directory / path, what=what, repair=bring_back(directory / path))
    for changed in report.changed:
        what = f"{directory / changed.path}: {changed.found}, expected {changed.expected}"
        yield Problem(path=directory / changed.path, what=what, repair=bring_back(directory / changed.path))
    for path in report.extra:
        if path.endswith(".parquet"):
            what = f"{directory / path}: not in the manifest, and a reader of the folder would load it"
            yield Problem(path=directory / path, what=what, repair=f"rm {shlex.quote(str(directory / path))}")
    if not manifest.files:
        what = f"{directory}: the manifest lists no files"
        yield Problem(path=directory / NAME, what=what, repair=bring_back(directory / NAME))


def _look_into(directory: Path, entries: list[FileEntry], how: Examination, findings: Findings) -> None:
    """Footers of the files whose bytes are right, and what their texts refer to."""
    bare = 0
    for entry in entries:
        path = directory / entry.path
        try:
            with pq.ParquetFile(path) as file:
                rows, schema = file.metadata.num_rows, file.schema_arrow
            dangling = find_dangling(path) if how.mode == "full" and schema.equals(SCHEMA) else Dangling()
        except (OSError, pa.ArrowException) as error:
            findings.problems.append(_wrong_content(path, f"{error}, though its bytes are those of the manifest"))
            continue
        bare += dangling.bare
        if not schema.equals(SCHEMA):
            findings.problems.append(_wrong_content(path, f"its columns are {schema.names}, expected {SCHEMA.names}"))
        if rows != entry.rows:
            what = f"{path}: {rows} rows, the manifest says {entry.rows}"
            findings.problems.append(Problem(path=directory / NAME, what=what, repair=bring_back(directory / NAME)))
        if dangling.rows:
            more = f" and {len(dangling.rows) - SHOWN} more rows" if len(dangling.rows) > SHOWN else ""
            findings.problems.append(_wrong_content(path, "; ".join(dangling.rows[:SHOWN]) + more))
    if bare:
        findings.notes.append(f"{bare} rows without media mention some; the feed keeps that as plain text")


def _decode(directory: Path, manifest: Manifest, how: Examination, findings: Findings) -> None:
    def report(done: int, total: int) -> None:
        if how.progress is not None:
            how.progress(manifest.dataset, "rows", done, total)

    dataset = SnapshotDataset(directory, manifest, how.restore)
    decoded = decode_rows(dataset, how.decode, workers=how.workers, progress=report)
    findings.decoded = decoded.rows
    findings.problems += [_wrong_content(directory, problem) for problem in decoded.problems]


def bring_back(path: Path) -> str:
    """The command that replaces one file of a versioned snapshot by its recorded bytes.

    It is removed first: DVC takes a file whose size and time of change are the old ones for unchanged. With it goes
    what a link leads to, a file of DVC's cache that would only be linked again.
    """
    doomed = [os.path.realpath(path), str(path)] if path.is_symlink() else [str(path)]
    return f"rm -f {shlex.join(doomed)} && dvc pull {shlex.quote(str(path))}"


def _wrong_content(path: Path, what: str) -> Problem:
    """Bytes that are as recorded, and no good: the same ones again would be no better."""
    return Problem(
        path=path,
        what=f"{path}: {what}",
        repair="correct its source or leave the rows out, and make the dataset anew in another folder with "
        "`trackyard data import`",
        restorable=False,
    )

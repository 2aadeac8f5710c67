"""Staging an entry file by file: the cache, what its rows point to, and Arrow files whose paths name the target.

Source: nine-datasets spec section 3.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from trackyard.acquire.files.manifest import NAME as RECORD
from trackyard.acquire.files.manifest import FileDigest, FileManifest
from trackyard.acquire.staging.caches import STATE
from trackyard.acquire.staging.closure import EntryClosure, FileFact
from trackyard.acquire.staging.columns import ImageColumns, stored_paths, values_at
from trackyard.acquire.staging.embed import Staged
from trackyard.acquire.staging.images import Mover, changed_batch
from trackyard.acquire.staging.journal import Journal
from trackyard.acquire.staging.raw_folders import RawFolder
from trackyard.acquire.staging.records import absent_files, by_root, read_record, record_folder
from trackyard.acquire.staging.roots import Roots
from trackyard.acquire.staging.scene_text import QuestionTable
from trackyard.acquire.staging.tables import arrow_batches
from trackyard.acquire.staging.transfer import Copier, Copy
from trackyard.acquire.staging.work import Watch
from trackyard.digest import digest_file, digest_json
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file, sweep, write_atomic
from trackyard.errors import DataError
from trackyard.runner import Runner

FINGERPRINT = 16
"""Hex digits of a fingerprint as `datasets` writes it."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """An Arrow file to copy with other paths. path: in the record."""

    path: str
    source: Path
    source_bytes: int
    dest: Path
    columns: ImageColumns


@dataclass(slots=True)
class RewriteTask:
    """An entry or a raw folder that is to be copied. states: `state.json` files that get a new fingerprint."""

    name: str
    folder: Path
    identity: str
    copies: list[Copy]
    rewrites: list[Rewrite] = field(default_factory=list)
    states: list[Rewrite] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def paths(self) -> set[str]:
        """What its record lists."""
        return {copy.path for copy in self.copies} | {one.path for one in (*self.rewrites, *self.states)}

    @property
    def rewritten(self) -> dict[str, int]:
        """Sizes at the source of the Arrow files that get other bytes here."""
        return {one.path: one.source_bytes for one in self.rewrites}


def entry_task(closed: EntryClosure, target: Roots) -> RewriteTask:
    """What copying an entry takes."""
    moved = {
        stored: str(target.path(fact.placed.root) / fact.placed.relative) for stored, fact in closed.references.items()
    }
    task = RewriteTask(
        name=closed.entry.name,
        folder=record_folder(target, closed.entry.name, "rewrite"),
        identity=digest_json([sorted(closed.identity(one) for one in closed.surveys), sorted(moved.items())]),
        copies=[],
        moved=moved,
        counts=closed.counts,
    )
    columns = {
        path: one.columns
        for one in closed.surveys
        if one.paths and not isinstance(one.table, QuestionTable)
        for path in one.table.files
    }
    for fact in closed.files:
        path = fact.placed.path
        if path in columns:
            task.rewrites.append(_rewrite(fact, target, columns[path]))
        elif path.name == STATE and any(other.parent == path.parent for other in columns):
            task.states.append(_rewrite(fact, target, ImageColumns(images=(), paths=())))
        else:
            task.copies.append(_copy(fact, target))
    files = {fact.placed.path: fact for fact in closed.references.values()}
    task.copies += [_copy(fact, target) for fact in files.values()]
    return task


def raw_task(raw: RawFolder, target: Roots) -> RewriteTask:
    """What copying a raw folder takes."""
    return RewriteTask(
        name=raw.entry,
        folder=record_folder(target, raw.entry, "rewrite"),
        identity=digest_json([[fact.placed.relative, fact.bytes] for fact in raw.files]),
        copies=[_copy(fact, target) for fact in raw.files],
        counts={"images": len(raw.files)},
    )


def _copy(fact: FileFact, target: Roots) -> Copy:
    placed = fact.placed
    return Copy(
        path=f"{placed.root}/{placed.relative}",
        source=Path(str(placed.path)[: -len(placed.relative) - 1]),
        target=target.path(placed.root),
        relative=placed.relative,
        bytes=fact.bytes,
    )


def _rewrite(fact: FileFact, target: Roots, columns: ImageColumns) -> Rewrite:
    copy = _copy(fact, target)
    return Rewrite(copy.path, fact.placed.path, fact.bytes, copy.dest, columns)


def is_finished(task: RewriteTask, target: Roots) -> bool:
    """Whether a record lists all of it, and all that it lists is there. DataError if it is of another source."""
    record = read_record(target, task.name, "rewrite")
    if record is None:
        return False
    recorded = {file.path: file.bytes for file in record.files} | dict(record.source["rewritten"])
    expected = {copy.path: copy.bytes for copy in task.copies} | task.rewritten
    other = sorted(path for path, size in expected.items() if recorded.get(path, size) != size)
    if other:
        raise DataError(
            what=f"{task.folder} records another source of {task.name}: {other[0]} and {len(other) - 1} more differ",
            why="a staged entry is immutable: results are tied to its bytes",
            fix=f"stage it to another target, or remove the record first: rm -r {task.folder}",
        )
    whole = not any(absent_files(root, part.files) for root, part in by_root(target, record).items())
    return whole and task.paths <= {file.path for file in record.files}


def run_rewrite(task: RewriteTask, source: Roots, target: Roots, runner: Runner, watch: Watch) -> Staged:
    """Copy and rewrite what is not there, then write the record. A second run after it copies nothing."""
    sweep(task.folder, RECORD)
    if is_finished(task, target):
        sweep(task.folder)  # a journal that its record has outlived
        record = read_record(target, task.name, "rewrite")
        return Staged(listed={file.path: file.bytes for file in record.files} if record else {})
    older = read_record(target, task.name, "rewrite")
    journal = Journal(task.folder, task.identity, recorded=older.files if older else ())
    copier = Copier(name=task.name, runner=runner, watch=watch, journal=journal)
    copier.run(task.copies)
    for one in task.rewrites:
        watch.check()
        if not _is_there(journal, one):
            digest = _rewritten(one, task.moved)
            journal.add([digest])
            copier.copied_files, copier.copied_bytes = copier.copied_files + 1, copier.copied_bytes + digest.bytes
    fingerprint = digest_json([journal.done[one.path].blake3 for one in task.rewrites])
    for one in task.states:
        sweep(one.dest.parent, one.dest.name)
        journal.add([_restated(one, fingerprint)])
    files = {file.path: file for file in older.files} if older else {}
    files |= {path: journal.done[path] for path in task.paths}
    record = FileManifest(
        name=task.name,
        source={
            "relocate": "rewrite", "from": source.as_json(), "to": target.as_json(),
            "counts": task.counts, "fingerprint": fingerprint, "rewritten": task.rewritten,
        },
        files=tuple(files[path] for path in sorted(files)),
    )  # fmt: skip
    record.write(task.folder)
    journal.remove()
    return Staged(
        listed={file.path: file.bytes for file in record.files},
        copied_files=copier.copied_files,
        copied_bytes=copier.copied_bytes,
    )


def _is_there(journal: Journal, one: Rewrite) -> bool:
    known = journal.done.get(one.path)
    return known is not None and one.dest.is_file() and one.dest.stat().st_size == known.bytes


def _rewritten(one: Rewrite, moved: dict[str, str]) -> FileDigest:
    """Write the Arrow file with new paths, read it back, and give it its name."""
    one.dest.parent.mkdir(parents=True, exist_ok=True)
    partial = one.dest.with_name(f"{TEMPORARY}{one.dest.name}")
    try:
        rows = _write(one, partial, Mover(moved))
        fsync_file(partial)
        _check(one, partial, rows, frozenset(moved.values()))
        digest = FileDigest(one.path, partial.stat().st_size, digest_file(partial))
        os.replace(partial, one.dest)
    finally:
        partial.unlink(missing_ok=True)
    fsync_directory(one.dest.parent)
    return digest


def _write(one: Rewrite, partial: Path, mover: Mover) -> int:
    rows, writer = 0, None
    with pa.OSFile(str(partial), "wb") as sink:
        for batch in arrow_batches(one.source):
            writer = writer or pa.ipc.new_stream(sink, batch.schema)
            writer.write_batch(changed_batch(batch, batch.schema, one.columns, mover))
            rows += batch.num_rows
        if writer is not None:
            writer.close()
    return rows


def _check(one: Rewrite, partial: Path, rows: int, allowed: frozenset[str]) -> None:
    found, paths = 0, set()
    for batch in arrow_batches(partial):
        found += batch.num_rows
        for leaf in (*one.columns.images, *one.columns.paths):
            paths.update(_paths(batch, leaf))
    strange = sorted(paths - allowed)
    if found != rows or strange:
        raise DataError(
            what=f"{one.dest}: {found:,} rows of {rows:,} read back, {len(strange)} paths lead elsewhere",
            why="rows at the target would not open there",
            fix="run the same command again",
        )


def _paths(batch: Any, leaf: Sequence[str]) -> set[str]:
    return set(stored_paths(values_at(batch.column(leaf[0]), tuple(leaf[1:]))).drop_null().to_pylist())


def _restated(one: Rewrite, fingerprint: str) -> FileDigest:
    body = json.loads(one.source.read_bytes()) | {"_fingerprint": fingerprint[:FINGERPRINT]}
    write_atomic(one.dest, json.dumps(body, indent=2))
    return FileDigest(one.path, one.dest.stat().st_size, digest_file(one.dest))

"""Staging an entry with its images inside: shards at the target, each safe before the next step, the record last.

Source: nine-datasets spec section 3, reliability F1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.acquire.files.manifest import NAME as RECORD
from trackyard.acquire.files.manifest import FileDigest, FileManifest
from trackyard.acquire.staging.closure import EntryClosure
from trackyard.acquire.staging.journal import Journal
from trackyard.acquire.staging.records import absent_files, read_record, record_folder, recorded_tables
from trackyard.acquire.staging.roots import Roots
from trackyard.acquire.staging.shards import SHARD_BYTES, Shard, divide, write_shard
from trackyard.acquire.staging.work import Watch, in_streams
from trackyard.digest import digest_json
from trackyard.durable import sweep
from trackyard.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """What staging an entry did. listed: bytes of its files at the target, by path, those of entries that share images
    included; copied_files, copied_bytes: what this run brought."""

    listed: Mapping[str, int]
    copied_files: int = 0
    copied_bytes: int = 0


@dataclass(slots=True)
class EmbedTask:
    """An entry that is to be embedded. pending: shards to write; kept: those that are there; listed: those that the
    record lists, also of splits that an earlier staging made and this one does not ask for; recorded: the record
    lists every split that is asked for."""

    closed: EntryClosure
    folder: Path
    tables: list[dict[str, Any]]
    pending: list[Shard]
    kept: dict[str, FileDigest]
    journal: Journal | None
    listed: dict[str, FileDigest]
    recorded: bool


def embed_task(closed: EntryClosure, target: Roots, *, shard_bytes: int = SHARD_BYTES, write: bool) -> EmbedTask:
    """Decide what is to be done; nothing at the target changes unless `write` says that the work follows.

    DataError if the target holds the same split of another source.
    """
    name = closed.entry.name
    folder = record_folder(target, name, "embed")
    shards = {one.table.name: divide(closed, one, shard_bytes=shard_bytes) for one in closed.surveys}
    tables = [
        {
            "name": one.table.name,
            "identity": closed.identity(one),
            "counts": one.counts,
            "rows": [[shard.path, shard.stop - shard.start] for shard in shards[one.table.name]],
        }
        for one in closed.surveys
    ]
    record = read_record(target, name, "embed")
    known = {file.path: file for file in record.files} if record else {}
    older = _older(recorded_tables(record), tables, folder) if record else []
    journal = Journal(folder, digest_json(tables)) if write else None
    if journal is not None:
        known |= journal.done
    lost = {file.path for file in absent_files(folder, tuple(known.values()))}
    kept = {path: file for path, file in known.items() if path not in lost}
    wanted = [shard for one in closed.surveys for shard in shards[one.table.name]]
    return EmbedTask(
        closed=closed,
        folder=folder,
        tables=[*older, *tables],
        pending=[shard for shard in wanted if shard.path not in kept],
        kept=kept,
        journal=journal,
        listed={file.path: file for file in record.files} if record else {},
        recorded=record is not None and not _added(record, tables),
    )


def _older(recorded: list[dict[str, Any]], tables: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Recorded splits that are not asked for now. DataError for one that is, but of another source."""
    asked = {table["name"]: table for table in tables}
    for table in recorded:
        new = asked.get(table["name"])
        if new is not None and new != table:
            raise DataError(
                what=f"{folder} holds {table['name']} of another source: {table['counts']}, now {new['counts']}",
                why="a staged entry is immutable: results are tied to its bytes",
                fix=f"stage it to another target, or remove it first: rm -r {folder}",
            )
    return [table for table in recorded if table["name"] not in asked]


def _added(record: FileManifest, tables: list[dict[str, Any]]) -> bool:
    return not {table["name"] for table in tables} <= {table["name"] for table in recorded_tables(record)}


def run_embed(task: EmbedTask, source: Roots, watch: Watch) -> Staged:
    """Write the pending shards and the record. A second run after it writes nothing."""
    name = task.closed.entry.name
    copied: list[FileDigest] = []
    if task.journal is None:
        raise ValueError("a task that was made without `write` is not run")
    sweep(task.folder, RECORD)
    if task.pending or not task.recorded:
        for folder in {(task.folder / shard.path).parent for shard in task.pending}:
            sweep(folder)
        done, total = 0, sum(shard.bytes for shard in task.pending)
        watch.tell(name, done, total)
        for shard, digest in in_streams(
            watch, lambda shard: write_shard(task.folder, shard, task.closed), task.pending
        ):
            task.journal.add([digest])
            copied.append(digest)
            done += shard.bytes
            watch.tell(name, done, total)
        _record(task, source, {file.path: file for file in copied})
    task.journal.remove()
    there = {**task.kept, **{file.path: file for file in copied}}
    return Staged(
        listed={f"{name}/{file.path}": file.bytes for file in there.values()},
        copied_files=len(copied),
        copied_bytes=sum(file.bytes for file in copied),
    )


def _record(task: EmbedTask, source: Roots, new: dict[str, FileDigest]) -> None:
    files = task.listed | task.kept | new
    order = [path for table in task.tables for path, _ in table["rows"]]
    FileManifest(
        name=task.closed.entry.name,
        source={"relocate": "embed", "from": source.as_json(), "tables": task.tables},
        files=tuple(files[path] for path in order),
    ).write(task.folder)

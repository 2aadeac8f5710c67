"""The stage that pins the rows: from the copy of the hub's tables, from the repository's own, or made for the mini.

It opens no socket: `trackyard data fetch` brings what the hub has. Rows are streamed; only the columns of `ROWS` are
read. Source: theworld section 7.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3

from trackyard.acquire.hub.record import read_record
from trackyard.acquire.images.pinned_list import listed_url
from trackyard.acquire.places import Places
from trackyard.catalog.entries import UNPINNED, load_catalogue
from trackyard.catalog.selection import find
from trackyard.digest import digest_file
from trackyard.durable import atomic_directory, sweep
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.datacomp.ingest.mini_web import mini_rows
from trackyard.recipes.datacomp.ingest.rows import BATCH_ROWS, ROWS, file_name
from trackyard.recipes.datacomp.results import DOCUMENT, write_result
from trackyard.recipes.datacomp.study import MADE, Study

UID_BYTES = 16
"""Of the blake3 of an address that names a row without a uid; DataComp's are as long."""
_NEEDED = ("url", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """A table to read. name: as it is stated, relative to the repository or to its place on the hub; digest: of it."""

    path: Path
    name: str
    digest: str


@dataclass(slots=True)
class _Counts:
    """rows: that are kept; without_url: that are not; secrets: rows whose address held a user name or password."""

    rows: int = 0
    without_url: int = 0
    secrets: int = 0


def metadata(study: Study, say: Callable[[str], None]) -> None:
    """Write `Study.metadata` anew. ConfigError for a source that is not pinned or names no table, DataError for tables
    that were not fetched, cannot be read or lack a column."""
    started, source = time.monotonic(), study.parameters.data.source
    folder, counts = study.metadata, _Counts()
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent, folder.name)
    if folder.exists():
        shutil.rmtree(folder)
    tables, origin = {"mini": _mini, "files": _files, "hub": _hub}[source.kind](study)
    with atomic_directory(folder) as partial:
        if source.kind == "mini":
            _write(partial / file_name(0), [pa.RecordBatch.from_pylist(mini_rows(source), schema=ROWS)], counts)
        for number, table in enumerate(tables):
            _write(partial / file_name(number), _batches(table, source.columns, counts), counts)
        if not counts.rows:
            raise DataError(
                what=f"the tables of {origin} hold no row with an address",
                why="nothing can be fetched, and nothing fetched is not a success",
                fix="correct datacomp.data.source in params.yaml",
            )
        files = [
            {"path": path.name, "rows": pq.read_metadata(path).num_rows, "digest": digest_file(path)}
            for path in sorted(partial.iterdir())
        ]
        header = study.header(
            "metadata",
            None,
            inputs={table.name: table.digest for table in tables},
            device="cpu",
            wall_s=round(time.monotonic() - started, 3),
        )
        body = {
            "origin": origin,
            "rows": counts.rows,
            "without_url": counts.without_url,
            "secrets_removed": counts.secrets,
            "files": files,
        }
        write_result(partial / DOCUMENT, "metadata", header, body)
    say(f"metadata  {counts.rows:,} rows from {' '.join(origin.values())}; {counts.without_url:,} without an address")


def _mini(study: Study) -> tuple[list[_Table], dict[str, str]]:
    return [], {"kind": "mini", "revision": MADE}


def _files(study: Study) -> tuple[list[_Table], dict[str, str]]:
    found = [path for pattern in study.parameters.data.source.files for path in _matching(study.root, pattern)]
    tables = [_Table(path=study.root / name, name=name, digest=digest_file(study.root / name)) for name in found]
    return tables, {"kind": "files"}


def _matching(root: Path, pattern: str) -> list[str]:
    """Files that a pattern names, relative to the repository, in the order of their names."""
    paths = [] if Path(pattern).is_absolute() else root.glob(pattern)
    found = sorted(path.relative_to(root).as_posix() for path in paths if path.is_file())
    if not found:
        raise ConfigError(
            what=f"{pattern!r} names no file",
            why="tables are named relative to the repository, so that no path of a machine is written down",
            fix="correct datacomp.data.source.files in params.yaml",
        )
    return found


def _hub(study: Study) -> tuple[list[_Table], dict[str, str]]:
    source = study.parameters.data.source
    entry = find(load_catalogue(study.root / "catalog"), source.entry)
    if not entry.hub:
        raise ConfigError(
            what=f"data.source.entry={entry.name!r} is no repository of the hub",
            why="kind hub reads what was fetched from there",
            fix="name datacomp-small, or use kind files",
        )
    repository = entry.hub[0]
    revision = source.revision or repository.revision
    if revision == UNPINNED:
        raise ConfigError(
            what=f"{entry.name} ({repository.repo}) has no pinned revision",
            why="what `main` holds changes, and samples would be others without a word",
            fix="set datacomp.data.source.revision in params.yaml to the commit of 40 hex digits that is meant",
        )
    fetched = read_record(repository.model_copy(update={"revision": revision}), Places.of(study.root).hub)
    tables = [
        _Table(
            path=fetched.directory / file.path,
            name=f"{repository.repo}@{revision}/{file.path}",
            digest=file.sha256 or f"git:{file.git_sha1}",
        )
        for file in sorted(fetched.contents, key=lambda file: file.path)
        if file.path.endswith(".parquet")
    ]
    if not tables:
        raise DataError(
            what=f"{repository.repo} at {revision[:12]} has no Parquet among its {fetched.files} files",
            why="rows are read from Parquet",
            fix="correct the entry in catalog/, or use kind files",
        )
    return tables, {"kind": "hub", "repo": repository.repo, "revision": revision, "licence": entry.licence.name}


def _batches(table: _Table, names: Mapping[Any, str], counts: _Counts) -> Iterator[pa.RecordBatch]:
    """Rows of a table with an address, in the columns of `ROWS`."""
    columns = {column: names.get(column, column) for column in ROWS.names}
    try:
        with pq.ParquetFile(table.path, page_checksum_verification=True) as file:
            there = file.schema_arrow.names
            lacking = [columns[name] for name in ROWS.names if columns[name] not in there]
            # A column that was named must be there; one that DataComp has besides address and text may be absent.
            wrong = [columns[name] for name in ROWS.names if columns[name] in lacking and (name in (*_NEEDED, *names))]
            if wrong:
                raise DataError(
                    what=f"{table.name} has no column {wrong[0]!r}, but {', '.join(there)}",
                    why="a row is an address with a caption",
                    fix="set datacomp.data.source.columns in params.yaml, such as {url: URL, text: TEXT}",
                )
            wanted = [columns[name] for name in ROWS.names if columns[name] in there]
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted, use_threads=False):
                yield _taken(batch, {name: columns[name] for name in ROWS.names if columns[name] in there}, counts)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            what=f"{table.name} cannot be read: {error}",
            why="rows would be missing without notice",
            fix="bring the file again; of the hub: trackyard data fetch datacomp-small",
        ) from error


def _taken(batch: pa.RecordBatch, columns: Mapping[str, str], counts: _Counts) -> pa.RecordBatch:
    """columns: of the batch, by the name in `ROWS`."""
    url = batch.column(columns["url"]).cast(pa.string())
    there = pc.and_(pc.is_valid(url), pc.not_equal(pc.fill_null(url, ""), ""))
    counts.without_url += batch.num_rows - int(pc.sum(there).as_py() or 0)
    batch = batch.filter(there)
    found: dict[str, Any] = {name: batch.column(column) for name, column in columns.items()}
    url = found["url"].cast(pa.string())
    if pc.any(pc.match_substring(url, "@")).as_py():
        listed = [listed_url(one) for one in url.to_pylist()]
        counts.secrets += sum(one != before for one, before in zip(listed, url.to_pylist(), strict=True))
        url = pa.array(listed, pa.string())
    if "uid" not in found:
        found["uid"] = pa.array([blake3(one.encode()).digest(UID_BYTES).hex() for one in url.to_pylist()], pa.string())
    elif found["uid"].null_count:
        raise DataError(
            what=f"{found['uid'].null_count} rows have no uid in the column {columns['uid']!r}",
            why="the order in which rows are taken follows from it",
            fix="leave that column out of datacomp.data.source.columns: rows are named by their addresses then",
        )
    sha256 = found.get("sha256")
    if sha256 is not None and pa.types.is_binary(sha256.type) | pa.types.is_fixed_size_binary(sha256.type):
        sha256 = pa.array([None if one is None else one.hex() for one in sha256.to_pylist()], pa.string())
    found |= {"url": url, "text": pc.fill_null(found["text"].cast(pa.string()), ""), "sha256": sha256}
    empty = {name: pa.nulls(batch.num_rows, ROWS.field(name).type) for name in ROWS.names}
    arrays = [
        (empty[name] if found.get(name) is None else found[name]).cast(ROWS.field(name).type) for name in ROWS.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS)


def _write(path: Path, batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch], counts: _Counts) -> None:
    with pq.ParquetWriter(path, ROWS, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            counts.rows += batch.num_rows
            writer.write_batch(batch)

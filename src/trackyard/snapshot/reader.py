"""Reading a snapshot: random access to rows, every page checked when it is read."""

from __future__ import annotations

import bisect
import difflib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.durable import TEMPORARY
from trackyard.errors import DataError
from trackyard.row import Row
from trackyard.snapshot.columns import SCHEMA, record_to_row
from trackyard.snapshot.manifest import NAME, RESTORE, FileEntry, Manifest, without_manifest

CACHED_BYTES = 32_000_000
"""Row groups of a dataset that stay decoded in memory, in bytes; the last one read always stays."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group: its file, the file's parsed footer, its number in the file, and the first row it holds."""

    path: Path
    footer: pq.FileMetaData
    number: int
    first: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """Row groups of a split in order. firsts: the first row of each."""

    groups: list[_Group]
    firsts: list[int]

    def at(self, number: int) -> _Group:
        return self.groups[bisect.bisect_right(self.firsts, number) - 1]


class SnapshotDataset:
    """One dataset of a snapshot. Safe for several threads. Open with `SnapshotDataset.open`.

    restore: the command that an error about damaged bytes tells the user to run.
    """

    def __init__(self, directory: Path, manifest: Manifest, restore: str) -> None:
        self.directory, self.manifest, self.restore = directory, manifest, restore
        # Two locks, both held for look-ups: a page is read and checked outside, so that threads do it side by side.
        self._layout_lock, self._cache_lock = threading.Lock(), threading.Lock()
        self._layouts: dict[str, _Layout] = {}
        self._cache: OrderedDict[tuple[Path, int], pa.Table] = OrderedDict()

    @classmethod
    def open(cls, directory: Path, *, restore: str = RESTORE) -> SnapshotDataset:
        """Read the manifest and compare file sizes; no row is touched. DataError names every file absent or cut."""
        manifest = Manifest.read(directory, restore=restore)
        problems = []
        for entry in manifest.files:
            path = directory / entry.path
            if not path.is_file():
                problems.append(f"{path}: absent")
            elif path.stat().st_size != entry.bytes:
                problems.append(f"{path}: {path.stat().st_size} bytes, expected {entry.bytes}")
        if problems:
            raise DataError(
                what="\n      ".join(problems),
                why="the snapshot is not complete, so rows of the plan would be missing",
                fix=restore,
            )
        return cls(directory, manifest, restore)

    @property
    def name(self) -> str:
        return self.manifest.dataset

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.manifest.splits)

    def rows(self, split: str) -> int:
        """Rows of a split, 0 if the dataset does not have it."""
        return self.manifest.splits.get(split, 0)

    def row(self, split: str, number: int) -> Row:
        """Row `number` of a split, 0 … rows - 1 (IndexError beyond). DataError if its page fails its checksum."""
        if not 0 <= number < self.rows(split):
            raise IndexError(f"row {number} of {self.name}/{split}, which has {self.rows(split)}")
        group = self._layout(split).at(number)
        return record_to_row(self._table(group).slice(number - group.first, 1).to_pylist()[0])

    def iterate(self, split: str) -> Iterator[Row]:
        """Every row of a split, in order."""
        return (self.row(split, number) for number in range(self.rows(split)))

    def _layout(self, split: str) -> _Layout:
        with self._layout_lock:
            if split not in self._layouts:
                groups: list[_Group] = []
                first = 0
                for entry in self.manifest.files:
                    if entry.split != split:
                        continue
                    path = self.directory / entry.path
                    footer = self._footer(path, entry)
                    for number in range(footer.num_row_groups):
                        groups.append(_Group(path, footer, number, first))
                        first += footer.row_group(number).num_rows
                self._layouts[split] = _Layout(groups, [group.first for group in groups])
            return self._layouts[split]

    def _footer(self, path: Path, entry: FileEntry) -> pq.FileMetaData:
        """The parsed footer of a shard, which has no checksum of its own: checked against schema and manifest."""
        try:
            with pq.ParquetFile(path) as file:
                footer, schema = file.metadata, file.schema_arrow
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(path, str(error)) from error
        if not schema.equals(SCHEMA) or footer.num_rows != entry.rows:
            raise self._damaged(
                path, f"{footer.num_rows} rows of {schema.names}, expected {entry.rows} of {SCHEMA.names}"
            )
        return footer

    def _table(self, group: _Group) -> pa.Table:
        key = (group.path, group.number)
        with self._cache_lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        try:
            # A file opened per read belongs to one thread and survives a fork; the footer is not parsed again.
            with pq.ParquetFile(
                group.path, metadata=group.footer, page_checksum_verification=True, pre_buffer=False
            ) as file:
                table = file.read_row_group(group.number, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(group.path, str(error)) from error
        expected = group.footer.row_group(group.number).num_rows
        if table.num_rows != expected:
            raise self._damaged(group.path, f"row group {group.number} has {table.num_rows} rows, expected {expected}")
        with self._cache_lock:
            self._cache[key] = table
            held = sum(kept.nbytes for kept in self._cache.values())
            while held > CACHED_BYTES and len(self._cache) > 1:
                held -= self._cache.popitem(last=False)[1].nbytes
        return table

    def _damaged(self, path: Path, problem: str) -> DataError:
        return DataError(
            what=f"{path} cannot be read: {problem}",
            why="the file is missing, cut short or has changed bytes; training on it would not be the planned training",
            fix=self.restore,
        )


def open_snapshot(root: Path, names: Sequence[str] | None, *, restore: str = RESTORE) -> dict[str, SnapshotDataset]:
    """Open the named datasets below `root`, or all of them. DataError names what is missing and what is close to it."""
    present = sorted(path.parent.name for path in root.glob(f"*/{NAME}") if not path.parent.name.startswith(TEMPORARY))
    if not present:
        siblings = [path.name for path in root.parent.iterdir() if path.is_dir()] if root.parent.is_dir() else []
        raise DataError(
            what=f"there is no snapshot in {root}{_nearest(root.name, siblings)}",
            why="a snapshot is a directory of datasets with manifests, and training reads nothing else",
            fix="dvc pull data.dvc",
        )
    for name in names or ():
        if name not in present:
            raise DataError(
                what=f"dataset {name!r} is not in {root}{_nearest(name, present)}",
                why=f"the snapshot holds {', '.join(present)}",
                fix="dvc pull data.dvc, or import it with `trackyard data import`",
            )
    if names is None:
        _refuse_incomplete(root, restore)
    return {name: SnapshotDataset.open(root / name, restore=restore) for name in (present if names is None else names)}


def _nearest(name: str, present: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, [other for other in present if other != name], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _refuse_incomplete(root: Path, restore: str) -> None:
    """Shards without a manifest are a dataset that was purged or half copied: leaving it out would go unnoticed."""
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(TEMPORARY)]
    for folder in folders:
        if not (folder / NAME).is_file() and next(folder.rglob("*.parquet"), None) is not None:
            raise without_manifest(folder, restore)

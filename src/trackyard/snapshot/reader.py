"""Reading a snapshot: random access to rows, each checked when it is first read (see `trackyard.snapshot.shard`)."""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

from trackyard.durable import TEMPORARY
from trackyard.errors import DataError
from trackyard.row import Row
from trackyard.snapshot.manifest import NAME, RESTORE, Manifest, without_manifest
from trackyard.snapshot.shard import Record, Shard


class SnapshotDataset:
    """One dataset of a snapshot. Safe for several threads; another process gets it by pickling, which sends no rows.

    Open with `SnapshotDataset.open`. restore: the command that an error about damaged bytes tells the user to run.
    """

    def __init__(self, directory: Path, manifest: Manifest, restore: str) -> None:
        self.directory, self.manifest, self.restore = directory, manifest, restore
        self._shards: dict[str, list[Shard]] = {split: [] for split in manifest.splits}
        self._firsts: dict[str, list[int]] = {split: [] for split in manifest.splits}
        ends = dict.fromkeys(manifest.splits, 0)
        for entry in manifest.files:
            self._shards[entry.split].append(Shard(directory / entry.path, entry, restore))
            self._firsts[entry.split].append(ends[entry.split])
            ends[entry.split] += entry.rows

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.directory, self.manifest, self.restore)

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

    def record(self, split: str, number: int) -> Record:
        """Row `number` of a split as it is stored, media not copied. Raises as `row` does."""
        if not 0 <= number < self.manifest.splits.get(split, 0):
            raise IndexError(f"row {number} of {self.name}/{split}, which has {self.rows(split)}")
        firsts = self._firsts[split]
        at = bisect_right(firsts, number) - 1
        return self._shards[split][at].record(number - firsts[at])

    def row(self, split: str, number: int) -> Row:
        """Row `number` of a split, 0 … rows - 1 (IndexError beyond).

        DataError if its file is absent, cut or of another size, or if a byte of the row is not the planned one.
        """
        return self.record(split, number).row()

    def iterate(self, split: str) -> Iterator[Row]:
        """Every row of a split, in order."""
        return (self.row(split, number) for number in range(self.rows(split)))


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

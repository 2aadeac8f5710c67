"""One split of an entry that `trackyard data sync` staged with its images inside: its texts at once, images on demand.

Source: nine-datasets spec section 3; the form is that of `trackyard.acquire.staging.embed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trackyard.acquire.files.manifest import NAME, FileDigest, FileManifest
from trackyard.acquire.staging.records import absent_files
from trackyard.errors import DataError
from trackyard.recipes.nine.layouts.columns import IMAGE, Kind, require_columns

STAGE = "stage it: trackyard data sync {} --from A --to B"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shards:
    """files: of the split in the order of its rows, relative to `folder`. Open with `open_split`."""

    entry: str
    split: str
    folder: Path
    files: tuple[FileDigest, ...]


def open_split(staged: Path, entry: str, split: str) -> Shards:
    """The shards of a split of every configuration. staged: folder that holds a folder for each entry.

    DataError where the entry or the split was not staged, or where a file is absent or cut.
    """
    folder = staged / entry
    if not (folder / NAME).is_file():
        raise DataError(
            what=f"{folder} holds no staged copy of {entry}",
            why="questions are read from a copy that is complete and proved",
            fix=STAGE.format(entry),
        )
    record = FileManifest.read(folder)
    tables = record.source.get("tables", ())
    named = [path for table in tables if table["name"].rsplit("/", 1)[-1] == split for path, _ in table["rows"]]
    if not named:
        raise DataError(
            what=f"{folder} has no split {split!r}; it has {', '.join(table['name'] for table in tables) or 'none'}",
            why=f"{entry} is evaluated on it",
            fix=STAGE.format(entry),
        )
    files = {file.path: file for file in record.files}
    shards = tuple(files[path] for path in named)
    lost = absent_files(folder, shards)
    if lost:
        raise DataError(
            what=f"{folder}: {', '.join(file.path for file in lost)} absent or of another size",
            why=f"questions of {entry} would be missing, and the score would be that of the others",
            fix=STAGE.format(entry),
        )
    return Shards(entry=entry, split=split, folder=folder, files=shards)


class SplitTable:
    """Rows of a split. texts: the columns without images, all rows, in memory; an image is read when it is asked for.

    Rows asked for in order are read group by group, each once; a row elsewhere costs its whole group (8 MB).
    """

    def __init__(self, shards: Shards, texts: Mapping[str, Kind], images: Sequence[str]) -> None:
        self.shards, self.images = shards, tuple(images)
        wanted = dict(texts) | dict.fromkeys(self.images, IMAGE)
        groups: list[int] = []
        places: list[tuple[Path, int]] = []
        tables = []
        for file in shards.files:
            path = shards.folder / file.path
            try:
                with pq.ParquetFile(path) as parquet:
                    require_columns(parquet.schema_arrow, wanted, where=str(path), entry=shards.entry)
                    places += [(path, number) for number in range(parquet.num_row_groups)]
                    groups += [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
                    tables.append(parquet.read(columns=list(texts)))
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, shards.entry, error) from error
        # The schemas' metadata differ between configurations; their columns do not.
        self.texts: Any = pa.concat_tables(
            [table.replace_schema_metadata(None) for table in tables], promote_options="permissive"
        ).combine_chunks()
        self._places = places
        self._starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)])
        self._recent: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def row(self, number: int) -> dict[str, Any]:
        """Texts of a row."""
        values: dict[str, Any] = self.texts.slice(number, 1).to_pylist()[0]
        return values

    def pictures(self, number: int) -> list[tuple[str, bytes]]:
        """(path as staged, encoded bytes) of the images of a row, in the order of the columns; absent ones left out."""
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        recent = self._recent  # one assignment: another thread may read another group meanwhile
        if recent is None or recent[0] != group:
            path, place = self._places[group]
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
                    recent = (group, parquet.read_row_group(place, columns=list(self.images)))
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, self.shards.entry, error) from error
            self._recent = recent
        stored = recent[1].slice(number - int(self._starts[group]), 1).to_pylist()[0]
        return [
            (stored[name]["path"] or f"{self.shards.entry}/{number}-{name}", stored[name]["bytes"])
            for name in self.images
            if stored[name] is not None and stored[name]["bytes"] is not None
        ]

    @cached_property
    def illustrated(self) -> NDArray[np.bool_]:
        """bool [rows]: rows with an image in any column. The bytes are not read: a row without one stores a null."""
        found = []
        for file in self.shards.files:
            path = self.shards.folder / file.path
            try:
                with pq.ParquetFile(path) as parquet:
                    table = parquet.read(columns=[f"{name}.path" for name in self.images])
            except (pa.ArrowException, OSError) as error:
                raise _damaged(path, self.shards.entry, error) from error
            masks = [pc.is_valid(table[name]).to_numpy() for name in self.images]
            found.append(np.logical_or.reduce(masks))
        return np.concatenate(found)


def _damaged(path: Path, entry: str, error: Exception) -> DataError:
    return DataError(
        what=f"{path} cannot be read: {error}",
        why=f"questions of {entry} lie in it",
        fix=f"trackyard data verify {entry} --at B, then {STAGE.format(entry)}",
    )

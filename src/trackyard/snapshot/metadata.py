"""Rows without their media: everything that lengths follow from, read without touching a byte of an image or a video.

Media are nearly all of a shard, and column chunks are read one by one: of 740 GB of shards a pass reads a few.
Source: molmo2 spec sections 3 and 9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.errors import DataError
from trackyard.row import Row
from trackyard.snapshot.columns import MEDIA, record_to_row
from trackyard.snapshot.manifest import FileEntry
from trackyard.snapshot.reader import SnapshotDataset

COLUMNS = (
    "id",
    "task",
    "conversations",
    "meta",
    *(f"media.list.element.{field.name}" for field in MEDIA if field.name != "bytes"),
)
BATCH_ROWS = 256


def iterate_metadata(dataset: SnapshotDataset, files: Sequence[FileEntry]) -> Iterator[Row]:
    """Every row of the named shards, in order; `data` of its media is empty.

    Pages that are read are checked against their checksums. DataError names a shard that is damaged or holds other
    rows than its manifest says.
    """
    for entry in files:
        path = dataset.directory / entry.path
        rows = 0
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as shard:
                for batch in shard.iter_batches(BATCH_ROWS, columns=list(COLUMNS), use_threads=False):
                    rows += batch.num_rows
                    for record in batch.to_pylist():
                        media = [medium | {"bytes": b""} for medium in record["media"]]
                        yield record_to_row(record | {"media": media})
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, str(error), dataset.restore) from error
        if rows != entry.rows:
            raise _damaged(path, f"{rows} rows, expected {entry.rows}", dataset.restore)


def _damaged(path: object, problem: str, restore: str) -> DataError:
    return DataError(
        what=f"{path} cannot be read: {problem}",
        why="the file is missing, cut short or has changed bytes, and the plan would be made of other rows",
        fix=restore,
    )

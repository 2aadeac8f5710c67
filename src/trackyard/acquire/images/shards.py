"""The files of a part: images and outcomes in the order of the list, settled together and proved by one marker.

Images lie in small row groups without compression, so that one of them is read with little else; pages carry checksums.
Source: theworld section 7, reliability F1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.images.columns import record_batch
from trackyard.acquire.images.digest_set import DigestSet
from trackyard.acquire.images.markers import Marker, Part, PartFile, command
from trackyard.acquire.images.outcomes import OK, conserve
from trackyard.acquire.images.pinned_list import KEY_BYTES, UrlRow, rows_digest, url_key
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file
from trackyard.errors import DataError

GROUP = 8
"""Images in a row group: what is read to get one."""

IMAGES = pa.schema(
    [
        ("url", pa.string()),
        ("blake3", pa.binary(32)),
        ("sha256", pa.binary(32)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.binary()),
    ]
)
"""Of stored images. blake3: of `bytes`; sha256: of the bytes that the server delivered; width, height: of `bytes`."""

OUTCOMES = pa.schema(
    [
        ("key", pa.binary(KEY_BYTES)),
        ("url", pa.string()),
        ("outcome", pa.string()),
        ("detail", pa.string()),
        ("attempts", pa.int32()),
        ("sha256", pa.binary(32)),
    ]
)
"""Of every row tried, in the order of the list. key: of the URL; sha256: of what was delivered, null if nothing was."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an accepted image lies in a spill, and what it is. blake3: 32 bytes."""

    offset: int
    size: int
    blake3: bytes
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one URL. sha256: 32 bytes, of what was delivered. delivered: its bytes. image: of an accepted one.

    detail: of a loss; of an accepted image only that its digest was not the expected one.
    """

    url: str
    outcome: str
    detail: str = ""
    attempts: int = 0
    sha256: bytes | None = None
    delivered: int = 0
    image: Stored | None = None


class Spill:
    """Images of a part that is not settled yet, on disk in the order in which they came."""

    def __init__(self, directory: Path, part: Part) -> None:
        self._path = directory / f"{TEMPORARY}{part.name}.spill"
        self._file = self._path.open("w+b", buffering=0)
        self._end = 0

    def add(self, data: bytes) -> int:
        """Append, and return the offset."""
        offset, left = self._end, memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._end += len(data)
        return offset

    def read(self, stored: Stored) -> bytes:
        self._file.seek(stored.offset)
        data = self._file.read(stored.size)
        if len(data) != stored.size:
            raise DataError(
                what=f"{self._path} ends at {self._end} bytes, before an image of {stored.size}",
                why="another process has changed a file that is being written",
                fix="leave the directory to one process, and run the same command again",
            )
        return data

    def remove(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Rows to try for one part. first_row, end_row: the shard's. before: latest outcomes of the shard's other rows."""

    part: Part
    first_row: int
    end_row: int
    rows: tuple[UrlRow, ...]
    before: Mapping[str, int]


def write_part(
    directory: Path,
    work: Work,
    outcomes: Sequence[Outcome],
    spill: Spill,
    accepted: DigestSet,
    *,
    keep_duplicates: bool,
) -> Marker:
    """Settle a part: duplicates are told from what `accepted` and earlier rows hold, then files and marker are written.

    outcomes: one per row of `work`, in order. `accepted` takes in the digests of the images that are stored.
    """
    settled = list(outcomes if keep_duplicates else _without_duplicates(outcomes, accepted))
    counts = Counter(outcome.outcome for outcome in settled)
    conserve(counts, attempted=len(work.rows), where=work.part.name)
    shard_counts = Counter(work.before) + counts
    conserve(shard_counts, attempted=work.end_row - work.first_row, where=f"the shard of {work.part.name}")
    _write(directory / work.part.images, IMAGES, _image_groups(settled, spill))
    _write(directory / work.part.outcomes, OUTCOMES, [_outcome_columns(settled)])
    fsync_directory(directory)
    marker = Marker(
        part=work.part,
        first_row=work.first_row,
        end_row=work.end_row,
        attempted=len(work.rows),
        counts=counts,
        shard_counts=shard_counts,
        delivered=sum(outcome.delivered for outcome in settled),
        mismatched=sum(outcome.outcome == OK and bool(outcome.detail) for outcome in settled),
        inputs=rows_digest(work.rows),
        images=PartFile.of(directory, work.part.images),
        outcomes=PartFile.of(directory, work.part.outcomes),
    )
    marker.write(directory)
    accepted.add([outcome.sha256 for outcome in settled if outcome.image is not None and outcome.sha256 is not None])
    return marker


def _without_duplicates(outcomes: Sequence[Outcome], accepted: DigestSet) -> Iterator[Outcome]:
    digests = [item.sha256 for item in outcomes if item.image is not None and item.sha256 is not None]
    known = {digest for digest, held in zip(digests, accepted.holds(digests), strict=True) if held}
    for item in outcomes:
        if item.image is None or item.sha256 is None:
            yield item
        elif item.sha256 in known:
            yield replace(item, outcome="duplicate", detail=f"sha256 {item.sha256.hex()} is accepted", image=None)
        else:
            known.add(item.sha256)
            yield item


def _image_groups(settled: Sequence[Outcome], spill: Spill) -> Iterator[dict[str, list[Any]]]:
    stored = [(item, item.image) for item in settled if item.image is not None]
    for first in range(0, len(stored), GROUP):
        group = stored[first : first + GROUP]
        yield {
            "url": [item.url for item, _ in group],
            "blake3": [image.blake3 for _, image in group],
            "sha256": [item.sha256 for item, _ in group],
            "width": [image.width for _, image in group],
            "height": [image.height for _, image in group],
            "bytes": [spill.read(image) for _, image in group],
        }


def _outcome_columns(settled: Sequence[Outcome]) -> dict[str, list[Any]]:
    return {
        "key": [url_key(item.url) for item in settled],
        "url": [item.url for item in settled],
        "outcome": [item.outcome for item in settled],
        "detail": [item.detail for item in settled],
        "attempts": [item.attempts for item in settled],
        "sha256": [item.sha256 for item in settled],
    }


def _write(path: Path, schema: pa.Schema, groups: Iterator[dict[str, list[Any]]] | list[dict[str, list[Any]]]) -> None:
    """Write a file whole, or leave none under its name."""
    partial = path.with_name(f"{TEMPORARY}{path.name}")
    # Encoded images do not get smaller; texts do.
    compression = "none" if schema is IMAGES else "zstd"
    with pq.ParquetWriter(
        partial, schema, compression=compression, use_dictionary=False, write_statistics=False, write_page_checksum=True
    ) as writer:
        for columns in groups:
            writer.write_batch(record_batch(columns, schema))
    fsync_file(partial)
    partial.replace(path)


def damaged(directory: Path, part: Part, problem: str) -> DataError:
    """The error for a part that cannot be read, with the command that brings exactly that shard again."""
    names = " ".join(str(directory / name) for name in part.files)
    return DataError(
        what=f"{directory / part.name}: {problem}",
        why="the disk has changed or lost bytes that were proved when they were written",
        fix=f"rm {names}; then: {command(directory)}",
    )


def read_outcomes(directory: Path, marker: Marker, columns: Sequence[str]) -> pa.Table:
    """Columns of a part's outcomes; DataError if a page fails its checksum or rows are missing."""
    try:
        with pq.ParquetFile(directory / marker.part.outcomes, page_checksum_verification=True) as file:
            table = file.read(columns=list(columns), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise damaged(directory, marker.part, f"outcomes cannot be read: {error}") from error
    if table.num_rows != marker.attempted:
        raise damaged(directory, marker.part, f"{table.num_rows} outcomes, expected {marker.attempted}")
    return table


def accepted_digests(directory: Path, marker: Marker) -> list[bytes]:
    """sha256 of the images that a part stores."""
    table = read_outcomes(directory, marker, ("outcome", "sha256")).to_pydict()
    return [digest for outcome, digest in zip(table["outcome"], table["sha256"], strict=True) if outcome == OK]

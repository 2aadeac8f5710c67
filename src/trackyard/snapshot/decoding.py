"""Proof that media decode: rows chosen evenly over a dataset, or all, through the door that training uses.

The bytes may be those of the manifest and still be no picture. Source: molmo2 spec section 3, "Inspection".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from trackyard.acquire.files.hashing import default_workers
from trackyard.acquire.media import probe_image, probe_video
from trackyard.errors import DataError
from trackyard.row import Media
from trackyard.snapshot.reader import SnapshotDataset

Decode = int | Literal["all"]
"""How many rows of a dataset are decoded."""
AT_ONCE = 64
"""Rows that are in memory together, per thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """rows, media: that were looked at. problems: one line for each row that does not decode to what it states."""

    rows: int
    media: int
    problems: tuple[str, ...]


def chosen(total: int, decode: Decode) -> Sequence[int]:
    """Numbers of the rows to decode out of `total`: the first, the last, and evenly between."""
    if decode == "all" or decode >= total:
        return range(total)
    if decode == 1:
        return [0]
    return [number * (total - 1) // (decode - 1) for number in range(decode)]


def decode_rows(
    dataset: SnapshotDataset,
    decode: Decode,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decode every medium of the chosen rows, counted over the splits in order. progress: rows done, of all."""
    numbers = chosen(sum(dataset.manifest.splits.values()), decode)
    workers = workers or default_workers()
    media = done = 0
    problems: list[str] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="decoding") as pool:
        for start in range(0, len(numbers), AT_ONCE * workers):
            batch = numbers[start : start + AT_ONCE * workers]
            for count, found in pool.map(lambda number: _decode(dataset, number), batch):
                media += count
                problems += found
            done += len(batch)
            if progress is not None:
                progress(done, len(numbers))
    return Decoded(rows=done, media=media, problems=tuple(problems))


def _decode(dataset: SnapshotDataset, number: int) -> tuple[int, list[str]]:
    """Media of a row and what is wrong with them. number: counted over the splits in order."""
    split, number = _place(dataset, number)
    try:
        row = dataset.row(split, number)
    except DataError as error:
        return 0, [f"row number {number} of {split}: {error.what}"]
    return len(row.media), [
        f"row {row.id!r} (number {number} of {split}): {problem}"
        for medium in row.media
        for problem in _problems(medium)
    ]


def _place(dataset: SnapshotDataset, number: int) -> tuple[str, int]:
    for split, rows in dataset.manifest.splits.items():
        if number < rows:
            return split, number
        number -= rows
    raise IndexError(f"row {number} beyond the end of {dataset.name}")


def _problems(medium: Media) -> Iterator[str]:
    probe = probe_image if medium.kind == "image" else probe_video
    try:
        found = probe(medium.data, medium.path)
    except DataError as error:
        yield error.what
        return
    for name in ("width", "height", "frames"):
        stated, real = getattr(medium, name), getattr(found, name)
        if stated != real:
            yield f"{medium.path} has {name} {real}, stated as {stated}"

"""Markers: which shards of a URL list are finished. A shard counts only with its marker, which is written last.

A directory holds `list.json` with `list.parquet` (the list that it belongs to) and, for each shard and each later
attempt at its failed URLs, images, outcomes and the marker:

    part-00000.parquet           part-00000.outcomes.parquet           part-00000.json
    part-00000.retry-01.parquet  part-00000.retry-01.outcomes.parquet  part-00000.retry-01.json

Source: theworld section 7.4, pains 16.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-url-shard/1"
_NAME = re.compile(r"part-(\d{5,})(?:\.retry-(\d{2,}))?\.")


AGAIN = "again.txt"
"""File with the command that goes on with a directory, where that is not `trackyard data fetch`."""


def command(directory: Path, *, retry: bool = False) -> str:
    """The command that goes on with `directory`: that in its file AGAIN, else that of the folder raw/NAME/images of the
    entry NAME."""
    named = directory / AGAIN
    if named.is_file():
        return named.read_text(encoding="utf-8").strip()
    return f"trackyard data fetch {directory.absolute().parent.name}" + (" --retry-failed" if retry else "")


@dataclass(frozen=True, order=True, slots=True)
class Part:
    """A shard, or a later attempt at what had failed in it. retry: 0 for the first attempt."""

    shard: int
    retry: int = 0

    @property
    def name(self) -> str:
        return f"part-{self.shard:05d}" + (f".retry-{self.retry:02d}" if self.retry else "")

    @property
    def images(self) -> str:
        return f"{self.name}.parquet"

    @property
    def outcomes(self) -> str:
        return f"{self.name}.outcomes.parquet"

    @property
    def marker(self) -> str:
        return f"{self.name}.json"

    @property
    def files(self) -> tuple[str, str, str]:
        return self.images, self.outcomes, self.marker


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFile:
    """One of the two files that a marker vouches for."""

    path: str
    bytes: int
    blake3: str

    @classmethod
    def of(cls, directory: Path, name: str) -> PartFile:
        path = directory / name
        return cls(path=name, bytes=path.stat().st_size, blake3=digest_file(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """A finished part. first_row, end_row: the shard's rows of the list. attempted: rows tried in this part.

    counts: their outcomes. shard_counts: latest outcomes of all rows of the shard, with this part. inputs: blake3 of
    the rows tried. delivered: bytes of the bodies that came. mismatched: images whose digest was not the expected one
    and that were kept all the same.
    """

    part: Part
    first_row: int
    end_row: int
    attempted: int
    counts: Mapping[str, int]
    shard_counts: Mapping[str, int]
    inputs: str
    images: PartFile
    outcomes: PartFile
    delivered: int = 0
    mismatched: int = 0

    def write(self, directory: Path) -> None:
        """Write the marker; both files must be durable already."""
        write_document(
            directory / self.part.marker,
            SCHEMA,
            {
                "shard": self.part.shard,
                "retry": self.part.retry,
                "rows": [self.first_row, self.end_row],
                "attempted": self.attempted,
                "counts": _sorted(self.counts),
                "shard_counts": _sorted(self.shard_counts),
                "delivered": self.delivered,
                "mismatched": self.mismatched,
                "inputs": self.inputs,
                "images": asdict(self.images),
                "outcomes": asdict(self.outcomes),
            },
        )

    def is_whole(self, directory: Path) -> bool:
        """Both files are there with their sizes. Their bytes are what a verification reads."""
        paths = [(directory / file.path, file.bytes) for file in (self.images, self.outcomes)]
        return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted((name, number) for name, number in counts.items() if number))


def read_marker(directory: Path, part: Part) -> Marker | None:
    """The marker of a part; None without one, DataError for one that cannot be read."""
    path = directory / part.marker
    if not path.is_file():
        return None
    fix = f"rm {path}; then: {command(directory)}"
    body = read_document(path, SCHEMA, fix=fix)
    try:
        return _marker(body)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            what=f"{path} lacks or misstates {error}", why="a shard counts only with its marker", fix=fix
        ) from error


def _marker(body: Mapping[str, Any]) -> Marker:
    first_row, end_row = body["rows"]
    return Marker(
        part=Part(int(body["shard"]), int(body["retry"])),
        first_row=int(first_row),
        end_row=int(end_row),
        attempted=int(body["attempted"]),
        counts=Counter(body["counts"]),
        shard_counts=Counter(body["shard_counts"]),
        inputs=str(body["inputs"]),
        images=PartFile(**body["images"]),
        outcomes=PartFile(**body["outcomes"]),
        # Parts that were finished before these were counted do not say.
        delivered=int(body.get("delivered", 0)),
        mismatched=int(body.get("mismatched", 0)),
    )


def attempts(directory: Path, shard: int) -> list[Marker]:
    """The finished attempts at a shard, the first one first; empty if it is not finished.

    A part whose files are absent or cut is not finished, and neither are the attempts after it.
    """
    found: list[Marker] = []
    for retry in count():
        marker = read_marker(directory, Part(shard, retry))
        if marker is None or not marker.is_whole(directory):
            return found
        found.append(marker)
    raise AssertionError("unreachable")


def all_attempts(directory: Path, shards: int) -> Iterator[Sequence[Marker]]:
    """`attempts` of every shard in order."""
    return (attempts(directory, shard) for shard in range(shards))


def remove_unfinished(directory: Path, shards: int) -> None:
    """Delete files of parts that do not count, so that none is taken for one that does. The caller has the lock."""
    whole = {marker.part for found in all_attempts(directory, shards) for marker in found}
    for path in directory.glob("part-*"):
        matched = _NAME.match(path.name)
        if matched and Part(int(matched[1]), int(matched[2] or 0)) not in whole:
            path.unlink()

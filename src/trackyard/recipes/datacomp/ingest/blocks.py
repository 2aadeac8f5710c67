"""The blocks of images that `download` brings: where they are, what their markers say, and what has gone since.

Source: theworld sections 7 and 13, reliability F27.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.acquire.images.markers import Marker, all_attempts
from trackyard.acquire.images.outcomes import OK, ledger
from trackyard.acquire.images.pinned_list import DOCUMENT as LIST
from trackyard.acquire.images.pinned_list import PinnedList
from trackyard.errors import DataError
from trackyard.recipes.datacomp.parameters import DataParameters
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study

AGAIN = "trackyard run datacomp download"
"""The command that brings what is missing, and nothing else."""


def planned_blocks(data: DataParameters) -> int:
    """Blocks that N samples need if rows are accepted as planned."""
    return math.ceil(math.ceil(data.samples / data.planned_acceptance) / data.block_rows)


def block_directory(study: Study, number: int) -> Path:
    return study.images / f"block-{number:05d}"


def tried(directory: Path) -> int:
    """Addresses of a block that have an outcome."""
    return ledger(directory).attempted if (directory / LIST).is_file() else 0


@dataclass(frozen=True, slots=True)
class Block:
    """A block that was examined: its markers, and what became of its rows. repeated: rows with an earlier address."""

    directory: Path
    markers: tuple[Marker, ...]
    counts: Counter[str]
    repeated: int

    @classmethod
    def read(cls, directory: Path) -> Block:
        """From the markers alone; DataError if they do not add up."""
        pinned, found = PinnedList.read(directory), ledger(directory)
        markers = tuple(marker for shard in all_attempts(directory, pinned.shards) for marker in shard)
        return cls(directory, markers, Counter({OK: found.ok, **found.by_cause}), pinned.repeated)

    def shards(self) -> list[dict[str, Any]]:
        """Its part of an account. digest: blake3 of the file with the images."""
        return [
            {
                "path": f"{self.directory.name}/{marker.images.path}",
                "digest": marker.images.blake3,
                "rows": marker.attempted,
                "ok": marker.counts.get(OK, 0),
            }
            for marker in self.markers
        ]


def finished_blocks(study: Study) -> tuple[Path, ...]:
    """Directories of the blocks that the last account is about, in keyed order, for `UrlImages.open`.

    DataError that names every shard of it that has been deleted or cut since, with the command that brings them again.
    """
    account = read_result(study.document("download"), "download").body
    lost = lost_shards(study, account)
    if lost:
        raise DataError(
            what=f"{len(lost)} of {len(account['shards'])} shards are absent or cut: {', '.join(lost)}",
            why=f"samples would be missing from {study.images} without notice",
            fix=f"{AGAIN}: exactly these are fetched again",
        )
    return tuple(study.images / name for name in sorted({_block_of(shard) for shard in account["shards"]}))


def lost_shards(study: Study, account: Mapping[str, Any]) -> list[str]:
    """Shards of an account that do not count any more."""
    there: set[str] = set()
    for name in sorted({_block_of(shard) for shard in account["shards"]}):
        directory = study.images / name
        if (directory / LIST).is_file():
            found = all_attempts(directory, PinnedList.read(directory).shards)
            there |= {f"{name}/{marker.images.path}" for attempts in found for marker in attempts}
    return [shard["path"] for shard in account["shards"] if shard["path"] not in there]


def _block_of(shard: Mapping[str, Any]) -> str:
    return str(shard["path"]).partition("/")[0]

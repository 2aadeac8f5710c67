"""How much of an entry lies on this disk, part by part. Nothing here asks a server or changes a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from trackyard.acquire.files.manifest import FileManifest
from trackyard.acquire.hub.fetch import read_record, verify_repository
from trackyard.acquire.hub.record import place_of
from trackyard.acquire.images.outcomes import ledger
from trackyard.acquire.places import Places
from trackyard.catalog.entries import HubSource
from trackyard.errors import DataError

State = Literal["absent", "partial", "complete"]


def repository_state(source: HubSource, places: Places) -> tuple[State, str]:
    """Whether the hub's cache holds a complete copy, by its record; sizes are compared, digests are not."""
    try:
        found = read_record(source, places.hub)
    except DataError:
        blobs = place_of(source, places.hub, "dataset").storage / "blobs"
        came = sum(not path.name.endswith(".incomplete") for path in blobs.iterdir()) if blobs.is_dir() else 0
        return ("partial", f"{came:,} files of this repository came, not all that are needed") if came else (
            "absent", "no complete copy",
        )  # fmt: skip
    report = verify_repository(source, places.hub, full=False)
    if not report.sound:
        return "partial", f"{len(report.missing):,} files missing, {len(report.changed):,} changed"
    return "complete", f"{found.files:,} files at {found.commit[:12]}"


def cached_bytes(source: HubSource, places: Places) -> int:
    """Bytes of a complete copy in the hub's cache, 0 where there is none."""
    try:
        return read_record(source, places.hub).bytes
    except DataError:
        return 0


def images_state(directory: Path) -> tuple[State, str]:
    """How far a list of URLs has come, by the markers of its shards."""
    if not directory.is_dir():
        return "absent", "none yet"
    try:
        found = ledger(directory)
    except DataError as error:
        # Also what a fetch leaves that was killed before its list was settled: the next one goes on from there.
        return "partial", error.what
    detail = f"{found.ok:,} of {found.attempted:,} addresses gave an image"
    if not found.complete:
        return "partial", f"{detail}, {found.total - found.attempted:,} were not asked yet"
    return "complete", detail


def raw_state(directory: Path, archives: Sequence[str], *, by_hand: bool) -> tuple[State, str]:
    """Whether a raw folder has its record with these archives, and the files that it names.

    by_hand: whether something must have come from a person; otherwise what came by a URL counts.
    """
    if not directory.is_dir():
        return "absent", "none yet"
    try:
        manifest = FileManifest.read(directory)
    except DataError:
        return "partial", "files without a record"
    came = {facts["name"] for facts in manifest.source["archives"] if (facts["url"] is None) == by_hand}
    lacking = [name for name in archives if name not in came]
    if lacking or not came:
        return "partial" if came else "absent", f"not taken in yet: {', '.join(lacking) or 'what the steps bring'}"
    absent = [file.path for file in manifest.files if not (directory / file.path).is_file()]
    if absent:
        return "partial", f"{len(absent):,} of {len(manifest.files):,} files missing, {absent[0]} first"
    return "complete", f"{len(manifest.files):,} files"

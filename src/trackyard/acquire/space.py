"""The space plan: bytes, files and inodes of a selection, place by place, before anything is downloaded.

A figure that a source states is shown as that source's; where nobody states one, it is estimated from the entries of
the same medium that have one, and marked so. Source: nine-datasets spec section 2, pains 4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Literal

from trackyard.acquire.places import Place, Places, Room, room
from trackyard.catalog.entries import Entry, Medium

Part = Literal["tables", "media", "snapshot"]
State = Literal["absent", "partial", "complete"]
SpaceBasis = Literal["measured", "stated", "public", "derived", "estimated", "unknown"]

HUB_FILE_BYTES = 500_000_000
"""The hub's own converter closes a Parquet file at this size."""
SHARD_BYTES = 256_000_000
IMAGES_PER_SHARD = 4096
FILES_PER_SHARD = 3
"""Images by URL: shard, outcomes, marker."""

_BASIS_ORDER: tuple[SpaceBasis, ...] = ("unknown", "estimated", "public", "stated", "derived", "measured")


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What one part of an entry takes in one place.

    bytes: None where unknown. files: as trackyard keeps them (shards). loose_files: as they would lie one by one.
    """

    entry: str
    part: Part
    place: Place
    bytes: int | None
    basis: SpaceBasis
    files: int | None
    loose_files: int | None
    access: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceTotal:
    """The sum of a place's needs. unknown: entries whose size nobody states and that cannot be estimated.

    missing_bytes, missing_files: of parts that are not whole yet. What one part has too much makes no room for another.
    """

    place: Place
    path: str
    bytes: int
    bytes_by_basis: Mapping[str, int]
    files: int
    loose_files: int
    unknown: tuple[str, ...]
    present_bytes: int
    missing_bytes: int
    missing_files: int
    room: Room


@dataclass(frozen=True, kw_only=True, slots=True)
class SpacePlan:
    """needs: part by part. problems: why it does not fit, one sentence for each file system."""

    needs: tuple[Need, ...]
    totals: tuple[PlaceTotal, ...]
    problems: tuple[str, ...]

    @property
    def fits(self) -> bool:
        return not self.problems


def bytes_per_visual(catalogue: Iterable[Entry]) -> dict[Medium, float]:
    """Median bytes of one visual input (text: of one example) by medium, over the entries that state a size."""
    found: dict[Medium, list[float]] = {}
    for entry in catalogue:
        size, count = entry.expected.bytes.value, _inputs(entry)
        if size and count and "bundle" not in entry.roles:
            found.setdefault(entry.media, []).append(size / count)
    return {medium: median(values) for medium, values in found.items()}


def _inputs(entry: Entry) -> int | None:
    expected = entry.expected
    if entry.media == "text":
        return expected.examples.value or expected.rows.value
    return expected.visual.value or expected.examples.value


def entry_bytes(entry: Entry, typical: Mapping[Medium, float]) -> tuple[int | None, SpaceBasis]:
    """Bytes of an entry as brought to disk, and what the figure rests on."""
    if entry.expected.bytes.value is not None:
        return entry.expected.bytes.value, entry.expected.bytes.basis
    count = _inputs(entry)
    # Frames of a video are no smaller than the video: the two media share what is known.
    rate = typical.get(entry.media) or (typical.get("video") if entry.media == "video-frames" else None)
    if count is None or rate is None:
        return None, "unknown"
    return ceil(count * rate), "estimated"


def needs_of(entry: Entry, typical: Mapping[Medium, float]) -> tuple[Need, ...]:
    """Parts of one entry. Its size counts where its media lie; tables beside separate media are small and unknown."""
    if entry.access == "none":
        return ()
    size, basis = entry_bytes(entry, typical)
    visual = entry.expected.visual.value
    loose = entry.expected.files.value or visual
    needs: list[Need] = []

    def add(part: Part, place: Place, size: int | None, basis: SpaceBasis, files: int | None) -> None:
        needs.append(
            Need(
                entry=entry.name,
                part=part,
                place=place,
                bytes=size,
                basis=basis,
                files=files,
                loose_files=loose if part == "media" else files,
                access=entry.access,
            )
        )

    kind = entry.recipe.kind
    if kind in ("embedded", "none"):
        add("tables", "hub", size, basis, _shards(size, HUB_FILE_BYTES))
    else:
        if kind == "urls":
            files = FILES_PER_SHARD * ceil(visual / IMAGES_PER_SHARD) if visual else None
        else:
            files = entry.expected.files.value or visual
        add("media", "raw", size, basis, files)
    if entry.stages or "datacomp" in entry.group:
        add("snapshot", "data", size, "estimated" if size is not None else "unknown", _shards(size, SHARD_BYTES))
    return tuple(needs)


def _shards(size: int | None, shard_bytes: int) -> int | None:
    return None if size is None else max(1, ceil(size / shard_bytes))


def plan_space(
    entries: Sequence[Entry],
    typical: Mapping[Medium, float],
    places: Places,
    *,
    present: Mapping[tuple[str, Part], int],
) -> SpacePlan:
    """Needs of `entries`, totals by place, and whether what is not there yet fits.

    typical: of `bytes_per_visual`. present: bytes that lie there already, by entry and part.
    """
    needs = tuple(need for entry in entries for need in needs_of(entry, typical))
    totals = tuple(
        _total(place, [need for need in needs if need.place == place], places, present)
        for place in ("hub", "raw", "data")
        if any(need.place == place for need in needs)
    )
    return SpacePlan(needs=needs, totals=totals, problems=tuple(_problems(totals)))


def _total(place: Place, needs: Sequence[Need], places: Places, present: Mapping[tuple[str, Part], int]) -> PlaceTotal:
    by_basis = dict.fromkeys(_BASIS_ORDER, 0)
    missing = {need: max(0, (need.bytes or 0) - present.get((need.entry, need.part), 0)) for need in needs}
    for need in needs:
        by_basis[need.basis] += need.bytes or 0
    return PlaceTotal(
        place=place,
        path=str(places.path(place)),
        bytes=sum(need.bytes or 0 for need in needs),
        bytes_by_basis={basis: size for basis, size in by_basis.items() if size},
        files=sum(need.files or 0 for need in needs),
        loose_files=sum(need.loose_files or 0 for need in needs),
        unknown=tuple(need.entry for need in needs if need.bytes is None),
        present_bytes=sum(present.get((need.entry, need.part), 0) for need in needs),
        missing_bytes=sum(missing.values()),
        # Of a part of unknown size nobody can say whether it is whole.
        missing_files=sum(need.files or 0 for need in needs if missing[need] or need.bytes is None),
        room=room(places.path(place)),
    )


def _problems(totals: Sequence[PlaceTotal]) -> Iterable[str]:
    """File systems that are too small. Places on one file system share its room."""
    for device in dict.fromkeys(total.room.device for total in totals):
        here = [total for total in totals if total.room.device == device]
        names = " and ".join(total.path for total in here)
        missing = sum(total.missing_bytes for total in here)
        free = here[0].room.free_bytes
        if missing > free:
            yield f"{names}: {missing / 1e9:,.1f} GB more are needed, {free / 1e9:,.1f} GB are free"
        files, inodes = sum(total.missing_files for total in here), here[0].room.free_inodes
        if inodes is not None and files > inodes:
            yield f"{names}: {files:,} more files are needed, {inodes:,} inodes are free"

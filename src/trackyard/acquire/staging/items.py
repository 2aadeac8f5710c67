"""Lines of a staging document, and the sentences where what is stated contradicts what is found or itself.

Source: nine-datasets spec sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trackyard.acquire.staging.closure import FileFact
from trackyard.acquire.staging.raw_folders import RawFolder
from trackyard.catalog.entries import Entry

ItemKind = Literal["cache", "raw", "reference"]
ItemState = Literal["present", "partial", "missing", "dangling", "outside"]

ORIGIN_SAMPLES = 304_625
"""Samples that the origin's text prints for the nine datasets together."""
TOLERANCE = 0.1
"""Relative difference up to which a stated size counts as rounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StagingItem:
    """One line. bytes: sum of file lengths (apparent); allocated: bytes of their blocks on disk; stated_bytes: as the
    founding document says; paths: the files, absolute; reason: why it is not present, with the first names."""

    entry: str
    kind: ItemKind
    source: str
    dest: str | None
    files: int
    bytes: int
    allocated: int
    stated_bytes: int | None
    state: ItemState
    reason: str
    paths: tuple[str, ...] = ()

    def as_json(self, *, paths: bool) -> dict[str, Any]:
        """Plain values; paths: whether each file is listed (the nine datasets have more than 200,000)."""
        values = asdict(self)
        if not paths:
            del values["paths"]
        return values


@dataclass(frozen=True, kw_only=True, slots=True)
class StagingTotals:
    """Sums over items; each file counts once. stated: what the founding document says of the selection, in bytes:
    its caches, those of its manual commands, raw folders, and their sum; samples: of the evaluated splits."""

    files: int
    bytes: int
    allocated: int
    stated_bytes: int
    stated_caches: int
    stated_manual_caches: int
    stated_raw: int
    samples: int


def totals_of(items: Iterable[StagingItem], entries: Sequence[Entry], raws: Sequence[RawFolder]) -> StagingTotals:
    """Totals of a plan. entries: the selection."""
    listed = list(items)
    nine = [entry.nine for entry in entries if entry.nine is not None]
    caches = sum(facts.cache_bytes or 0 for facts in nine)
    stated_raw = sum((raw.media.founding_bytes or 0) for raw in raws if raw.media is not None)
    return StagingTotals(
        files=sum(item.files for item in listed),
        bytes=sum(item.bytes for item in listed),
        allocated=sum(item.allocated for item in listed),
        stated_bytes=caches + stated_raw,
        stated_caches=caches,
        stated_manual_caches=sum(facts.cache_bytes or 0 for facts in nine if facts.in_manual_list),
        stated_raw=stated_raw,
        samples=sum(facts.samples for facts in nine),
    )


def item(
    entry: str,
    kind: ItemKind,
    source: str,
    dest: str | None,
    files: Sequence[FileFact],
    *,
    stated: int | None = None,
    state: ItemState = "present",
    reason: str = "",
) -> StagingItem:
    """A line over files."""
    return StagingItem(
        entry=entry,
        kind=kind,
        source=source,
        dest=dest,
        files=len(files),
        bytes=sum(fact.bytes for fact in files),
        allocated=sum(fact.allocated for fact in files),
        stated_bytes=stated,
        state=state,
        reason=reason,
        paths=tuple(str(fact.placed.path) for fact in files),
    )


def stated_contradictions(entries: Sequence[Entry], raws: Sequence[RawFolder], totals: StagingTotals) -> Iterator[str]:
    """Where the founding document contradicts itself or the catalogue, for a selection."""
    caches = [entry for entry in entries if entry.nine is not None and entry.nine.cache_bytes]
    left_out = [entry.name for entry in caches if entry.nine is not None and not entry.nine.in_manual_list]
    if left_out and totals.stated_manual_caches:
        yield (
            f"the founding document prints {decimal(totals.stated_manual_caches)} for the caches: that is the sum of "
            f"the {len(caches) - len(left_out)} that its manual commands copy; its {len(caches)} caches add up to "
            f"{decimal(totals.stated_caches)}, and the commands leave out {', '.join(left_out)}"
        )
    if len([entry for entry in entries if entry.nine is not None]) == 9 and totals.samples != ORIGIN_SAMPLES:
        yield f"the origin prints {ORIGIN_SAMPLES:,} samples; its own table adds up to {totals.samples:,}"
    for raw in raws:
        yield from _raw(raw)
    named = {raw.media.name for raw in raws if raw.media}
    for media in entries:
        if "media" not in media.roles or media.name in named or media.founding_bytes is not None or media.manual:
            continue
        users = ", ".join(entry.name for entry in entries if media.name in entry.needs)
        size = media.expected.bytes.value
        told = f", about {decimal(size)}" if size else ""
        yield f"the founding document does not mention {media.name}{told}, and rows of {users} point to its images"


def _raw(raw: RawFolder) -> Iterator[str]:
    media = raw.media
    if media is None or media.founding_bytes is None:
        return
    public, files, block = media.expected.bytes.value, media.expected.files.value, media.founding.block_bytes
    if public and block and files and abs(public - media.founding_bytes) > TOLERANCE * public:
        yield (
            f"the founding document states {decimal(media.founding_bytes)} for {raw.name}; the files themselves are "
            f"{decimal(public)} ({media.expected.bytes.basis}): {files:,} files in blocks of {block // 1024} KiB take "
            f"{files * block / 2**30:.2f} GiB"
        )


def measured_contradictions(items: Iterable[StagingItem]) -> Iterator[str]:
    """Where a stated size is not what was found, for items that are complete."""
    for one in items:
        if one.state != "present" or not one.stated_bytes or not one.bytes:
            continue
        if abs(one.bytes - one.stated_bytes) > TOLERANCE * one.stated_bytes:
            yield (
                f"{one.entry}: {decimal(one.stated_bytes)} stated for {one.source}; found {decimal(one.bytes)} "
                f"apparent, {decimal(one.allocated)} allocated, in {one.files:,} files"
            )


def decimal(count: int) -> str:
    """Bytes in decimal units: 38.474 GB, 292 MB, 1.5 kB."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:,.3f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{count} bytes"

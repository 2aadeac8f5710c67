"""Which rows of a list are to be tried: those of unfinished shards, or failed ones that another day may cure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from trackyard.acquire.images.digest_set import DigestSet
from trackyard.acquire.images.markers import Marker, Part, all_attempts, attempts
from trackyard.acquire.images.outcomes import OK, PERMANENT
from trackyard.acquire.images.pinned_list import PinnedList
from trackyard.acquire.images.shards import Work, read_outcomes


def unfinished(pinned: PinnedList) -> Iterator[Work]:
    """Every row of the shards without a marker."""
    for shard in range(pinned.shards):
        if not attempts(pinned.directory, shard):
            first, end = pinned.rows_of(shard)
            yield Work(part=Part(shard), first_row=first, end_row=end, rows=pinned.shard(shard), before={})


def failed(pinned: PinnedList, accepted: DigestSet) -> Iterator[Work]:
    """Rows of finished shards whose latest outcome may be cured. accepted: digests of all images that are stored."""
    for shard, found in enumerate(all_attempts(pinned.directory, pinned.shards)):
        if not found:
            continue
        latest = _latest(pinned.directory, found)
        rows = tuple(row for row in pinned.shard(shard) if _may_be_cured(*latest[row.url], accepted))
        if rows:
            first, end = pinned.rows_of(shard)
            tried = Counter(latest[row.url][0] for row in rows)
            before = Counter(outcome for outcome, _ in latest.values()) - tried
            yield Work(part=Part(shard, len(found)), first_row=first, end_row=end, rows=rows, before=before)


def _may_be_cured(outcome: str, sha256: bytes | None, accepted: DigestSet) -> bool:
    if outcome == "duplicate" and sha256 is not None:
        # The image that it repeats may have been in a shard that was damaged and fetched anew.
        return not accepted.holds([sha256])[0]
    return outcome != OK and outcome not in PERMANENT


def _latest(directory: Path, found: Iterable[Marker]) -> dict[str, tuple[str, bytes | None]]:
    """Latest outcome and digest of each URL of a shard."""
    latest: dict[str, tuple[str, bytes | None]] = {}
    for marker in found:
        columns = read_outcomes(directory, marker, ("url", "outcome", "sha256")).to_pydict()
        told = zip(columns["outcome"], columns["sha256"], strict=True)
        latest.update(zip(columns["url"], told, strict=True))
    return latest

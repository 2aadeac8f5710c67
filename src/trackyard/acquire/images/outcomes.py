"""One URL, one outcome: the causes of loss, their ledger, and the guards that stop a run whose losses are not ordinary.

A failed row is never replaced by a neighbour. Source: theworld section 7, reliability P7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from trackyard.acquire.images.markers import all_attempts, command
from trackyard.acquire.images.pinned_list import PinnedList
from trackyard.acquire.web import failures
from trackyard.errors import DataError, TrackyardError

ImageCause = Literal[
    "not_image", "decode_error", "truncated", "pixel_limit", "too_small", "aspect", "hash_mismatch", "face_box",
    "duplicate",
]  # fmt: skip
"""Causes found in bytes that were delivered. `internal_error` is none of them: it ends the run instead."""

Cause = failures.Cause | ImageCause
OK: Literal["ok"] = "ok"
CAUSES: tuple[str, ...] = tuple(dict.fromkeys((*get_args(failures.Cause), *get_args(ImageCause))))

PERMANENT = frozenset(
    {
        "bad_url", "blocked_address", "http_410", "opt_out", "too_large",
        "pixel_limit", "too_small", "aspect", "hash_mismatch", "face_box", "duplicate",
    }
)  # fmt: skip
"""Causes that another day does not cure; the others are tried again by `--retry-failed`."""

FLOOR_ROWS, FLOOR = 500, 0.20
BAND_ROWS, USUAL = 5_000, (0.50, 0.95)
ONE_CAUSE_FAILURES, ONE_CAUSE = 500, 0.90


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """What became of the rows that have an outcome. total: different URLs of the list."""

    ok: int
    by_cause: Mapping[str, int]
    total: int

    @classmethod
    def of(cls, counts: Mapping[str, int], *, total: int) -> Ledger:
        """A ledger of counts by outcome. DataError for an outcome that nobody knows."""
        by_cause = {name: number for name, number in sorted(counts.items()) if name != OK and number}
        unknown = [name for name in by_cause if name not in CAUSES]
        if unknown:
            raise DataError(
                what=f"outcome {unknown[0]!r} is none of ok, {', '.join(CAUSES)}",
                why="a loss without a known cause is not accounted for",
                fix="fetch again with the version that wrote the directory",
            )
        return cls(ok=counts.get(OK, 0), by_cause=by_cause, total=total)

    @property
    def attempted(self) -> int:
        return self.ok + sum(self.by_cause.values())

    @property
    def complete(self) -> bool:
        return self.attempted == self.total

    @property
    def acceptance(self) -> float:
        """Share of the attempted rows that gave an image; 0 before the first."""
        return self.ok / self.attempted if self.attempted else 0.0

    def lines(self) -> Iterator[str]:
        """The histogram, the most frequent outcome first."""
        for name, number in sorted(((OK, self.ok), *self.by_cause.items()), key=lambda item: -item[1]):
            yield f"{number:>12,}  {number / max(1, self.attempted):7.2%}  {name}"


def conserve(counts: Mapping[str, int], *, attempted: int, where: str) -> None:
    """attempted = ok + sum of causes; DataError otherwise, which a fault in this program or on the disk is."""
    if sum(counts.values()) != attempted:
        raise DataError(
            what=f"{where}: {attempted:,} rows, and {sum(counts.values()):,} outcomes: {dict(counts)}",
            why="every row has exactly one outcome, or rows were lost or counted twice",
            fix="remove the parts named above and fetch them again; report it if it comes back",
        )


def ledger(directory: Path) -> Ledger:
    """The account of a directory, from the markers of its finished shards; DataError if it does not add up."""
    pinned = PinnedList.read(directory)
    counts: Counter[str] = Counter()
    for shard, found in enumerate(all_attempts(directory, pinned.shards)):
        if not found:
            continue
        for marker in found:
            conserve(marker.counts, attempted=marker.attempted, where=str(directory / marker.part.marker))
        first, end = pinned.rows_of(shard)
        conserve(found[-1].shard_counts, attempted=end - first, where=str(directory / found[-1].part.marker))
        counts.update(found[-1].shard_counts)
    return Ledger.of(counts, total=pinned.urls)


class AcceptanceError(TrackyardError):
    """The share of images that came is not that of an ordinary run."""


def judge(found: Ledger, band: tuple[float, float], directory: Path) -> tuple[str, ...]:
    """Warnings about a ledger; AcceptanceError with the histogram where the run should not go on.

    band: acceptance (low, high) that the list is known for. It holds from 5,000 rows on; a shorter list is judged by
    its lower end when it is complete. Below 500 rows a list that is not complete is not judged.
    """
    problem = _problem(found, band)
    if problem is not None:
        raise AcceptanceError(
            what=f"{directory}: {problem}",
            why="an outage, a block or a server that answers anything with anything would make this the data set:\n"
            + "\n".join(f"      {line}" for line in found.lines()),
            fix=f"find the reason above; then, on another day or network: {command(directory, retry=True)}",
        )
    low, high = USUAL
    if found.attempted < BAND_ROWS or low <= found.acceptance <= high:
        return ()
    return (f"acceptance {found.acceptance:.1%} after {found.attempted:,} rows: {low:.0%} to {high:.0%} is usual",)


def _problem(found: Ledger, band: tuple[float, float]) -> str | None:
    low, high = band
    share = f"acceptance {found.acceptance:.1%} after {found.attempted:,} rows"
    if found.attempted >= FLOOR_ROWS and found.acceptance < FLOOR:
        return f"{share} is below {FLOOR:.0%}"
    if found.attempted >= BAND_ROWS and not low <= found.acceptance <= high:
        return f"{share} lies outside {low:.0%} to {high:.0%}, which this list is known for"
    if found.complete and found.acceptance < low:
        return f"{share}, all there are, is below {low:.0%}, which this list is known for"
    failed = sum(found.by_cause.values())
    if failed >= ONE_CAUSE_FAILURES:
        cause, number = max(found.by_cause.items(), key=lambda item: item[1])
        if number > ONE_CAUSE * failed:
            return f"{number:,} of {failed:,} failures have one cause, {cause}"
    return None

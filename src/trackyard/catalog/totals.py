"""Sums over catalogue entries: the reference mixture by group, the founding documents' sizes, the nine datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trackyard.catalog.entries import Entry
from trackyard.catalog.reference import Reference
from trackyard.catalog.selection import closure, founding, select


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCount:
    """One group of stage 2 and the reference's row of it. examples: sum of the entries' counts. rate_percent: sum of
    the printed rates. The expected values are None where the reference has no such group."""

    group: str
    datasets: int
    examples: int
    rate_percent: float
    expected_datasets: int | None
    expected_examples: int | None
    expected_percent: float | None

    @property
    def agrees(self) -> bool:
        return (self.datasets, self.examples) == (self.expected_datasets, self.expected_examples)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundingTotals:
    """Sums of the sizes that the founding documents state, over the entries of their own lists."""

    stage1_bytes: int
    stage2_bytes: int
    union_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NineTotals:
    """The nine datasets: sums of what the founding document states; public_raw_bytes: the same images by better known
    figures; saved_bytes: what it counts as not copied."""

    entries: int
    samples: int
    caches: int
    cache_bytes: int
    manual_caches: int
    manual_cache_bytes: int
    raw_bytes: int
    public_raw_bytes: int
    total_bytes: int
    saved_bytes: int


def fine_tuning(catalogue: Mapping[str, Entry]) -> tuple[Entry, ...]:
    """What stage 2 trains on."""
    return select(catalogue, ["stage2"])


def group_counts(catalogue: Mapping[str, Entry], reference: Reference) -> tuple[GroupCount, ...]:
    """Every group of stage 2 or of the reference, in the reference's order."""
    expected = {row.group: row for row in (*reference.groups, reference.uncounted)}
    members: dict[str, list[Entry]] = {group: [] for group in expected}
    for entry in fine_tuning(catalogue):
        members.setdefault(entry.group, []).append(entry)
    counts = []
    for group, entries in members.items():
        row = expected.get(group)
        counts.append(
            GroupCount(
                group=group,
                datasets=len(entries),
                examples=sum(entry.expected.examples.value or 0 for entry in entries),
                rate_percent=rate_percent(entries),
                expected_datasets=row.datasets if row else None,
                expected_examples=row.examples if row else None,
                expected_percent=row.report_percent if row else None,
            )
        )
    return tuple(counts)


def rate_percent(entries: Iterable[Entry]) -> float:
    """Sum of the printed rates; rounded as they are, since their binary sum is not exact."""
    return round(sum(entry.mixture.rate_percent or 0.0 for entry in entries), 4)


def founding_totals(catalogue: Mapping[str, Entry]) -> FoundingTotals:
    """Sizes of the founding documents' lists, by their stages."""
    return FoundingTotals(
        stage1_bytes=stated_bytes(founding(catalogue, 1)),
        stage2_bytes=stated_bytes(founding(catalogue, 2)),
        union_bytes=stated_bytes(founding(catalogue)),
    )


def stated_bytes(entries: Iterable[Entry]) -> int:
    """Sum of the sizes that the founding documents state."""
    return sum(entry.founding_bytes or 0 for entry in entries)


def nine_images(catalogue: Mapping[str, Entry]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Image sets that the nine entries need, and those of the founding document that they do not."""
    needed = {entry.name for entry in closure(catalogue, select(catalogue, ["nine"]))}
    images = [entry for entry in catalogue.values() if "media" in entry.roles]
    return (
        tuple(entry for entry in images if entry.name in needed),
        tuple(entry for entry in images if entry.name not in needed and entry.founding_bytes is not None),
    )


def nine_totals(catalogue: Mapping[str, Entry], reference: Reference) -> NineTotals:
    """Totals of the nine-dataset evaluation."""
    entries = select(catalogue, ["nine"])
    facts = [entry.nine for entry in entries if entry.nine is not None]
    cached = [fact for fact in facts if fact.cache is not None]
    listed = [fact for fact in cached if fact.in_manual_list]
    needed, excluded = nine_images(catalogue)
    stated = [entry for entry in needed if entry.founding_bytes is not None]
    cache_bytes = sum(fact.cache_bytes or 0 for fact in cached)
    return NineTotals(
        entries=len(entries),
        samples=sum(fact.samples for fact in facts),
        caches=len(cached),
        cache_bytes=cache_bytes,
        manual_caches=len(listed),
        manual_cache_bytes=sum(fact.cache_bytes or 0 for fact in listed),
        raw_bytes=stated_bytes(stated),
        public_raw_bytes=sum(entry.expected.bytes.value or 0 for entry in stated),
        total_bytes=cache_bytes + stated_bytes(stated),
        saved_bytes=stated_bytes(excluded) + reference.nine.other_folders_bytes,
    )

"""`check_catalogue`: whether the catalogue is whole, and where the sources it rests on contradict each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from trackyard.catalog.contradictions import contradictions
from trackyard.catalog.entries import UNPINNED, Access, Entry, load_catalogue
from trackyard.catalog.reference import FoundingNames, Reference, load_founding_names, load_reference
from trackyard.catalog.selection import SELECTIONS, select
from trackyard.catalog.totals import (
    FoundingTotals,
    GroupCount,
    NineTotals,
    fine_tuning,
    founding_totals,
    group_counts,
    nine_totals,
    rate_percent,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueReport:
    """What the check found.

    entries: examined. files: YAML files that hold them. resolved, unresolved: names of founding documents, the latter
    as "document: name -> entry". selections: entries of each. access: of the datasets that the report counts.
    rate_percent: of stage 2 without, and rate_percent_with_hardcodes: with the fixed answers. pinned, unpinned: hub
    sources with and without a fixed commit. problems: what must be mended here. contradictions: what the sources say
    differently, with both figures.
    """

    entries: int
    files: int
    resolved: int
    unresolved: tuple[str, ...]
    selections: dict[str, int]
    groups: tuple[GroupCount, ...]
    access: dict[Access, int]
    rate_percent: float
    rate_percent_with_hardcodes: float
    pinned: int
    unpinned: int
    unknown_licences: int
    founding: FoundingTotals
    nine: NineTotals
    problems: tuple[str, ...]
    contradictions: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def check_catalogue(directory: Path) -> CatalogueReport:
    """Examine the catalogue in `directory`; ConfigError where it cannot be read at all, or holds no entry."""
    catalogue = load_catalogue(directory)
    reference, names = load_reference(directory), load_founding_names(directory)
    trained = fine_tuning(catalogue)
    counted = [entry for entry in trained if entry.group != reference.uncounted.group]
    access: Counter[Access] = Counter(entry.access for entry in counted)
    revisions = [source.revision for entry in catalogue.values() for source in entry.hub]
    unresolved = tuple(_unresolved(catalogue, names))
    printed = sum(len(document.names) for document in names.documents.values())
    totals, nine = founding_totals(catalogue), nine_totals(catalogue, reference)
    report = CatalogueReport(
        entries=len(catalogue),
        files=len(list(directory.glob("*.yaml"))),
        resolved=printed - len(unresolved),
        unresolved=unresolved,
        selections={name: len(select(catalogue, [name])) for name in SELECTIONS},
        groups=group_counts(catalogue, reference),
        access={way: access[way] for way in reference.access},
        rate_percent=rate_percent(counted),
        rate_percent_with_hardcodes=rate_percent(trained),
        pinned=sum(revision != UNPINNED for revision in revisions),
        unpinned=sum(revision == UNPINNED for revision in revisions),
        unknown_licences=sum(entry.licence.basis == "unknown" for entry in catalogue.values()),
        founding=totals,
        nine=nine,
        problems=(),
        contradictions=contradictions(catalogue, reference, names, totals, nine),
    )
    problems = (*_against_reference(report, reference), *_inside(catalogue))
    if printed == 0:
        problems = (*problems, "no founding document names any dataset: nothing was proved about the names")
    return replace(report, problems=problems)


def _unresolved(catalogue: Mapping[str, Entry], names: FoundingNames) -> Iterator[str]:
    """Printed names that do not lead to the entry they mean. A name with its document goes before a bare one."""
    leads_to = {name: entry.name for entry in catalogue.values() for name in (entry.name, *entry.aliases)}
    for number, document in names.documents.items():
        for name, meant in document.names.items():
            if leads_to.get(f"{number}:{name}", leads_to.get(name)) != meant:
                yield f"{number}: {name} -> {meant}"


def _against_reference(report: CatalogueReport, reference: Reference) -> Iterator[str]:
    for name in report.unresolved:
        yield f"name of a founding document that leads nowhere, or elsewhere: {name}"
    for count in report.groups:
        if not count.agrees:
            yield (
                f"{count.group} has {count.datasets} datasets with {count.examples:,} examples, "
                f"the reference {count.expected_datasets} with {count.expected_examples}"
            )
    if report.access != reference.access:
        yield f"ways of access {report.access}, the reference {reference.access}"
    rates = (report.rate_percent, report.rate_percent_with_hardcodes)
    if rates != reference.rate_percent:
        yield f"rates add up to {rates[0]} and {rates[1]} %, the reference to {reference.rate_percent}"
    sums, nine = report.founding, report.nine
    for what, found, expected in (
        ("founding sizes of stage 1", sums.stage1_bytes, reference.founding_bytes.stage1),
        ("founding sizes of stage 2", sums.stage2_bytes, reference.founding_bytes.stage2),
        ("founding sizes of both stages", sums.union_bytes, reference.founding_bytes.union),
        ("samples of the nine datasets", nine.samples, reference.nine.samples),
        ("caches of the nine datasets", nine.cache_bytes, reference.nine.cache_bytes),
        ("caches that the manual commands copy", nine.manual_cache_bytes, reference.nine.manual_cache_bytes),
        ("raw images of the nine datasets", nine.raw_bytes, reference.nine.raw_bytes),
        ("caches and raw images together", nine.total_bytes, reference.nine.total_bytes),
        ("bytes that the founding document does not copy", nine.saved_bytes, reference.printed.nine_saved_bytes),
    ):
        if found != expected:
            yield f"{what}: {found:,}, the reference {expected:,}"


def _inside(catalogue: Mapping[str, Entry]) -> Iterator[str]:
    """What an entry lacks, or says twice and differently."""
    by_name = {name: entry for entry in catalogue.values() for name in (entry.name, *entry.aliases)}
    for entry in catalogue.values():
        for name in (entry.name, *entry.aliases):
            if name in SELECTIONS:
                yield f"{entry.name} is called {name}, which is a selection"
        if entry.access == "auto" and not (entry.hub or entry.recipe.archives or entry.needs):
            yield f"{entry.name} comes by itself, but from nowhere"
        if entry.nine is None:
            continue
        if entry.nine.cache_bytes != entry.founding_bytes:
            yield f"{entry.name} has a cache of {entry.nine.cache_bytes} bytes, stated as {entry.founding_bytes}"
        for folder in entry.nine.raw:
            if folder not in by_name or by_name[folder].name not in entry.needs:
                yield f"{entry.name} reads {folder}, which none of its needs is called"

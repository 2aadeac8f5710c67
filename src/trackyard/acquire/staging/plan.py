"""The staging plan: every file that the selection needs, whether it is there, and whether it fits at the target.

Source: nine-datasets spec section 3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trackyard.acquire.staging.caches import Excluded
from trackyard.acquire.staging.closure import EntryClosure, Splits, close
from trackyard.acquire.staging.fit import fit
from trackyard.acquire.staging.items import (
    StagingItem,
    StagingTotals,
    measured_contradictions,
    stated_contradictions,
    totals_of,
)
from trackyard.acquire.staging.listing import is_served, list_items, reasons
from trackyard.acquire.staging.raw_folders import RawFolder, excluded_around, raw_folders
from trackyard.acquire.staging.roots import Locator, Roots
from trackyard.catalog.entries import Entry
from trackyard.errors import ConfigError

SCHEMA = "trackyard-staging-plan/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class StagingProblem:
    """Why a plan is not complete, and what to do. entry: "" for the target as a whole."""

    entry: str
    what: str
    fix: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StagingPlan:
    """items: what is needed, each file in one of them. excluded: what lies around and stays. waivers: names whose
    absence was allowed. free_bytes, free_inodes: at the target, None without one or where it does not count them.
    closures, raws: what `run_sync` works on."""

    selection: tuple[str, ...]
    source: Roots
    target: Roots | None
    splits: Splits
    maps: Mapping[Path, Path]
    items: tuple[StagingItem, ...]
    excluded: tuple[Excluded, ...]
    totals: StagingTotals
    contradictions: tuple[str, ...]
    waivers: tuple[str, ...]
    free_bytes: int | None
    free_inodes: int | None
    problems: tuple[StagingProblem, ...]
    closures: tuple[EntryClosure, ...]
    raws: tuple[RawFolder, ...]

    @property
    def complete(self) -> bool:
        """The closure is all there, something is in it, and it fits."""
        return not self.problems

    def document(self, *, paths: bool = False) -> dict[str, Any]:
        """The body of `trackyard-staging-plan/1`."""
        return {
            "selection": list(self.selection),
            "splits": self.splits,
            "roots": {"from": self.source.as_json(), "to": self.target.as_json() if self.target else None},
            "items": [one.as_json(paths=paths) for one in self.items],
            "totals": asdict(self.totals),
            "free_bytes": self.free_bytes,
            "free_inodes": self.free_inodes,
            "complete": self.complete,
            "problems": [asdict(problem) for problem in self.problems],
            "waivers": list(self.waivers),
            "contradictions": list(self.contradictions),
            "excluded": [asdict(one) for one in self.excluded],
        }


def plan_staging(
    entries: Sequence[Entry],
    source: Roots,
    target: Roots | None,
    *,
    splits: Splits = "needed",
    maps: Mapping[Path, Path] | None = None,
    allow_missing: Collection[str] = (),
) -> StagingPlan:
    """Follow the references of a selection; reads only.

    entries: the selection with what it needs (`catalog.selection.closure`); those without nine-dataset facts give
    figures of raw folders. maps: stored prefix -> folder that holds its files now. allow_missing: names of entries
    whose absence is waived and recorded. Raises EnvironmentLacking for a root that cannot be read or written,
    ConfigError for a name or a map that means nothing.
    """
    maps = dict(maps or {})
    nine = [entry for entry in entries if entry.nine is not None]
    check_names(entries, nine, allow_missing)
    source.check_readable()
    if target is not None:
        target.check_writable()
    locator = Locator(source, maps)
    closures = [close(entry, source, locator, splits) for entry in nine]
    raws = raw_folders(entries, source)
    waived = frozenset(allow_missing)
    items = list(list_items(closures, raws, source, target, waived))
    totals = totals_of(items, nine, raws)
    found = fit(items, [closed.entry.name for closed in closures], target)
    return StagingPlan(
        selection=tuple(entry.name for entry in nine),
        source=source,
        target=target,
        splits=splits,
        maps=maps,
        items=tuple(items),
        excluded=tuple(_excluded(closures, raws, items, source)),
        totals=totals,
        contradictions=(
            *stated_contradictions(entries, raws, totals),
            *measured_contradictions(items),
            *_notes(closures, raws),
        ),
        waivers=tuple(sorted(waived)),
        free_bytes=found.free_bytes if found else None,
        free_inodes=found.free_inodes if found else None,
        problems=(
            *_problems(closures, raws, waived),
            *(StagingProblem(entry="", what=what, fix=_room(target)) for what in (found.problems if found else ())),
            *_empty(totals),
        ),
        closures=tuple(closures),
        raws=tuple(raws),
    )


def check_names(entries: Sequence[Entry], nine: Sequence[Entry], allow_missing: Collection[str]) -> None:
    """ConfigError for a selection without any of the nine, or a waiver for a name that is not in it."""
    if not nine:
        raise ConfigError(
            what="the selection has none of the nine datasets: "
            + (", ".join(one.name for one in entries) or "nothing"),
            why="there is nothing to stage or to prove",
            fix="name `nine` or entries of it; `trackyard data list` prints them",
        )
    unknown = sorted(set(allow_missing) - {entry.name for entry in entries})
    if unknown:
        raise ConfigError(
            what=f"--allow-missing {', '.join(unknown)}: not in the selection",
            why="a waiver for a wrong name would let nothing through, or the wrong thing later",
            fix=f"choose among {', '.join(entry.name for entry in entries)}",
        )


def _problems(
    closures: Sequence[EntryClosure], raws: Sequence[RawFolder], waived: frozenset[str]
) -> Iterator[StagingProblem]:
    for closed in closures:
        name = closed.entry.name
        if name in waived:
            continue
        if closed.problems:
            what = reasons([text for _, text in closed.problems])
            yield StagingProblem(entry=name, what=what, fix=_bring(closed.entry))
        for kind in ("dangling", "outside"):
            bad = [reference for reference in closed.bad if reference.kind == kind]
            if bad:
                told = reasons([f"{reference.stored}: {reference.why}" for reference in bad])
                yield StagingProblem(entry=name, what=f"{len(bad):,} {kind} references: {told}", fix=_find(kind))
    for raw in raws:
        if raw.problems and raw.entry not in waived:
            yield StagingProblem(
                entry=raw.entry,
                what=reasons(raw.problems),
                fix=f"bring the missing images back, or waive the folder with --allow-missing {raw.entry}",
            )


def _empty(totals: StagingTotals) -> Iterator[StagingProblem]:
    if not totals.files:
        yield StagingProblem(entry="", what="0 files in the closure", fix="name the right folder with --from")


def _room(target: Roots | None) -> str:
    return f"free space at {target.molmo.parent if target else ''}, or stage fewer entries"


def _bring(entry: Entry) -> str:
    if entry.manual is not None:
        return f"trackyard data instructions {entry.name}"
    return f"build the cache again where it comes from, or leave it out with --allow-missing {entry.name}"


def _find(kind: str) -> str:
    if kind == "outside":
        return "name the folder that holds them now with --map OLD=NEW"
    return "unpack the archive of these images again, or name the folder that holds them with --map OLD=NEW"


def _excluded(
    closures: Sequence[EntryClosure], raws: Sequence[RawFolder], items: Sequence[StagingItem], source: Roots
) -> Iterator[Excluded]:
    for closed in closures:
        yield from closed.excluded
    for raw in raws:
        yield from raw.excluded
    nine = [closed.entry.nine for closed in closures if closed.entry.nine is not None]
    yield from excluded_around(
        source,
        (path for one in items for path in one.paths),
        (facts.cache for facts in nine if facts.cache),
        (raw.name for raw in raws),
    )


def _notes(closures: Sequence[EntryClosure], raws: Sequence[RawFolder]) -> Iterator[str]:
    """What was found and is no problem, but not what one would expect."""
    for closed in closures:
        for one in closed.surveys:
            for leaf, paths, filled in one.columns.mixed:
                yield (
                    f"{closed.entry.name}: column {'.'.join(leaf)} of {one.table.name} has {paths:,} image paths among "
                    f"{filled:,} texts; it is taken as text"
                )
    for raw in raws:
        if not raw.is_there and is_served(raw, closures):
            yield f"{raw.folder} is not there; every row of {', '.join(raw.needed_by)} finds its images elsewhere"

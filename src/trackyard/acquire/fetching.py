"""Bringing entries to disk: what has to be done is decided first, shown, and then exactly that is done.

Source: style guide "Decide, show, do"; pains 15 and 16.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trackyard.acquire.files.manifest import FileManifest
from trackyard.acquire.hub.errors import refuse_offline
from trackyard.acquire.hub.fetch import fetch_repository, read_record
from trackyard.acquire.images import fetch as url_images
from trackyard.acquire.images.fetch import UrlImageParameters, fetch_images
from trackyard.acquire.images.url_list import read_urls
from trackyard.acquire.places import Places
from trackyard.acquire.presence import State, images_state, raw_state, repository_state
from trackyard.acquire.raw.fetch import fetch_archives
from trackyard.acquire.raw.manual import find, take
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.catalog.entries import UNPINNED, Entry, HubSource
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError

Watch = Callable[[int, int | None], None]
"""Told (done, in all or None where unknown), in the unit of the step: see `UNITS`."""

Kind = Literal["repository", "images", "archives", "by hand", "nowhere"]
Does = Literal["fetch", "compare", "retry", "take", "nothing", "stop"]
"""compare: ask the hub whether an unpinned repository has moved on. stop: nothing can be done, see the problem."""

UNITS: Mapping[Kind, Literal["bytes", "images", "files"]] = {
    "repository": "bytes", "images": "images", "archives": "bytes", "by hand": "bytes", "nowhere": "files",
}  # fmt: skip
IMAGES = "images"
"""Folder below an entry's raw folder that holds its images by URL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing to bring. what: for people. target: directory. bytes: as the catalogue expects, None where unknown.
    detail: what is there already. source: of a repository."""

    entry: str
    kind: Kind
    what: str
    target: str
    bytes: int | None
    state: State
    detail: str
    source: HubSource | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """endpoint: of the hub, None for its own. archives: files or folders that a person has put somewhere, for the
    entries that `give` chooses. retry_failed: of URL lists, try first what failed."""

    endpoint: str | None = None
    archives: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    retry_failed: bool = False
    policy: AddressPolicy = field(default_factory=AddressPolicy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a step will do. given: what a person has brought for it. problem: why it stops."""

    does: Does
    given: tuple[Path, ...] = ()
    problem: TrackyardError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """What one step came to. does: `nothing` where all was there already; files and bytes: that lie there now; counts:
    the ledger of a URL list, by outcome; warnings: sentences for people."""

    step: Step
    does: Does
    files: int
    bytes: int
    counts: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def steps_of(entry: Entry, places: Places) -> tuple[Step, ...]:
    """What one entry takes, and how much of it is there. Reads the disk only."""
    return tuple(_steps(entry, places))


def _steps(entry: Entry, places: Places) -> Iterator[Step]:
    size = entry.expected.bytes.value
    raw = places.raw / entry.name
    kind = entry.recipe.kind
    if entry.access == "none":
        detail = entry.notes[0] if entry.notes else "its publisher offers no way to get it"
        yield _step(entry, "nowhere", "nothing to fetch", raw, size, ("absent", detail))
        return
    for source in entry.hub:
        config = f" {source.config}" if source.config else ""
        found = repository_state(source, places)
        own = None if kind in ("urls", "archives", "video-ids", "manual") else size
        yield _step(entry, "repository", f"{source.repo}{config} @ {source.revision}", places.hub, own, found, source)
    if kind == "urls":
        what = f"by the addresses in column {entry.recipe.url_column}"
        yield _step(entry, "images", what, raw / IMAGES, size, images_state(raw / IMAGES))
    archives = [archive.name for archive in entry.recipe.archives if archive.url is not None]
    if archives:
        yield _step(entry, "archives", ", ".join(archives), raw, size, raw_state(raw, archives, by_hand=False))
    given = [archive.name for archive in entry.recipe.archives if archive.url is None]
    # An entry of no media of its own has everything from the entries it needs, where a person has brought it.
    own_files = entry.access == "manual" and not (kind == "none" and entry.needs)
    if given or kind in ("manual", "video-ids") or own_files:
        page = entry.manual.page if entry.manual else "no page is known"
        yield _step(entry, "by hand", page, raw, size, raw_state(raw, given, by_hand=True))


def _step(
    entry: Entry, kind: Kind, what: str, target: Path, size: int | None, found: tuple[State, str],
    source: HubSource | None = None,
) -> Step:  # fmt: skip
    state, detail = found
    return Step(
        entry=entry.name,
        kind=kind,
        what=what,
        target=str(target),
        bytes=size,
        state=state,
        detail=detail,
        source=source,
    )


def give(steps: Sequence[Step], archives: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Which entry gets what a person has named: folders are searched for every entry, a file belongs to one.

    ConfigError for a path that does not exist, where nothing is to be taken by hand, and where it is not clear which
    entry a file is for.
    """
    if not archives:
        return {}
    by_hand = [step for step in steps if step.kind == "by hand"]
    names = list(dict.fromkeys(step.entry for step in by_hand if step.state != "complete"))
    names = names or list(dict.fromkeys(step.entry for step in by_hand))
    named = " ".join(f"--archive {shlex.quote(str(path))}" for path in archives)
    absent = [str(path) for path in archives if not path.exists()]
    if absent:
        raise ConfigError(
            what=f"--archive: {', '.join(absent)} does not exist",
            why="what is to be taken in must be there",
            fix="name the file as it lies on this machine, or the folder that holds it",
        )
    if not names:
        entries = ", ".join(dict.fromkeys(step.entry for step in steps))
        raise ConfigError(
            what=f"{named}, and nothing of {entries} is taken by hand",
            why="an archive that is passed over would seem to have been taken in",
            fix="run the command without --archive, or name the set that the archive is of",
        )
    if len(names) > 1 and any(path.is_file() for path in archives):
        raise ConfigError(
            what=f"{named} for {len(names)} sets: {', '.join(names)}",
            why="a file that is unpacked for the wrong set lies under its name",
            fix=f"trackyard data fetch {names[0]} {named}, one set at a time; or name a folder that holds one for each",
        )
    return dict.fromkeys(names, tuple(archives))


def decide(entry: Entry, step: Step, places: Places, options: Options) -> Decision:
    """What `bring` would do. Reads the disk only."""
    try:
        return _decision(entry, step, places, options)
    except TrackyardError as problem:
        return Decision(does="stop", problem=problem)


def rehearse(entry: Entry, step: Step, places: Places, options: Options) -> Decision:
    """`decide`, and whether archives are the right ones. Asks no server and changes nothing."""
    decision = decide(entry, step, places, options)
    try:
        if decision.does == "take":
            take(entry, decision.given, places.raw, dry_run=True)
        elif decision.does == "fetch" and step.kind == "archives":
            fetch_archives(entry, places.raw, policy=options.policy, dry_run=True)
    except TrackyardError as problem:
        return Decision(does="stop", given=decision.given, problem=problem)
    return decision


def _decision(entry: Entry, step: Step, places: Places, options: Options) -> Decision:
    complete = step.state == "complete"
    if step.kind == "nowhere":
        raise DataError(
            what=f"{entry.name} cannot be fetched: {step.detail}",
            why="what is not there cannot be trained on, and its share of the mixture goes to its group",
            fix="leave it out of the selection; `trackyard data plan --budget` shows what that does to the mixture",
        )
    if step.source is not None:
        if complete and step.source.revision != UNPINNED:
            return Decision(does="nothing")
        refuse_offline()
        return Decision(does="compare" if complete else "fetch")
    if step.kind == "images":
        if options.retry_failed and step.state != "absent":
            return Decision(does="retry")
        return Decision(does="nothing" if complete else "fetch")
    if step.kind == "by hand":
        given = find(entry, options.archives.get(entry.name, ()))
        if given:
            return Decision(does="take", given=given)
        if not complete:
            raise by_hand(entry, step)
        return Decision(does="nothing")
    return Decision(does="nothing" if complete else "fetch")


def bring(entry: Entry, step: Step, places: Places, options: Options, *, watch: Watch | None = None) -> Brought:
    """Do one step; what is complete already is left alone. TrackyardError says what stopped it."""
    decision = decide(entry, step, places, options)
    if decision.problem is not None:
        raise decision.problem
    tell = watch or (lambda done, total: None)

    def came(state: url_images.Progress) -> None:
        tell(state.done, state.total)

    def arrived(_: str, done: int, total: int | None) -> None:
        tell(done, total)

    if step.source is not None:
        before = None if step.state != "complete" else read_record(step.source, places.hub).commit
        fetched = fetch_repository(step.source, cache=places.hub, endpoint=options.endpoint, progress=tell)
        does: Does = "nothing" if fetched.commit == before else "fetch"
        return Brought(step=step, does=does, files=fetched.files, bytes=fetched.bytes)
    if step.kind == "images":
        images = fetch_images(
            read_urls(entry, places),
            places.raw / entry.name / IMAGES,
            parameters=UrlImageParameters(acceptance=entry.recipe.acceptance),
            policy=options.policy,
            retry_failed=options.retry_failed,
            progress=came,
        )
        return Brought(
            step=step,
            does=decision.does,
            files=images.files,
            bytes=images.bytes,
            counts=images.counts,
            warnings=images.warnings,
        )
    if step.kind == "archives":
        raw = fetch_archives(entry, places.raw, policy=options.policy, progress=arrived)
        return Brought(step=step, does=decision.does, files=raw.files, bytes=raw.bytes)
    if decision.does == "take":
        taken = take(entry, decision.given, places.raw, progress=arrived)
        return Brought(step=step, does="take" if taken.changed else "nothing", files=taken.files, bytes=taken.bytes)
    lies = FileManifest.read(places.raw / entry.name).files
    return Brought(step=step, does="nothing", files=len(lies), bytes=sum(file.bytes for file in lies))


def by_hand(entry: Entry, step: Step) -> TrackyardError:
    """The stop in front of what only a person may do."""
    return EnvironmentLacking(
        what=f"{entry.name} must be taken by hand: {step.what}",
        why="its terms, a form or the lack of a public address keep programs from fetching it",
        fix=f"`trackyard data instructions {entry.name}`, then `trackyard data fetch {entry.name} --archive PATH`",
    )

"""The lines of a plan: what each entry holds, the raw folders, and the folders that rows point into.

Source: nine-datasets spec section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trackyard.acquire.staging.closure import BadReference, EntryClosure, FileFact
from trackyard.acquire.staging.items import ItemState, StagingItem, item
from trackyard.acquire.staging.raw_folders import RawFolder
from trackyard.acquire.staging.roots import Roots

NAMED = 10
"""Names in a reason; the rest are counted."""


def list_items(
    closures: Sequence[EntryClosure],
    raws: Sequence[RawFolder],
    source: Roots,
    target: Roots | None,
    waived: frozenset[str],
) -> Iterator[StagingItem]:
    """Lines of the plan. A file that several entries point to is in the first line that needs it."""
    seen: set[Path] = set()

    def new(files: Iterable[FileFact]) -> list[FileFact]:
        fresh = [fact for fact in files if fact.placed.path not in seen]
        seen.update(fact.placed.path for fact in fresh)
        return fresh

    for closed in closures:
        yield _entry_item(closed, new(closed.files), source, target, closed.entry.name in waived)
    for raw in raws:
        if raw.is_there or not is_served(raw, closures):
            yield _raw_item(raw, new(raw.files), target, raw.entry in waived)
    for closed in closures:
        yield from _reference_items(closed, new(closed.references.values()), target)


def is_served(raw: RawFolder, closures: Sequence[EntryClosure]) -> bool:
    """Whether every entry that needs the folder finds all its images, wherever they lie."""
    return all(closed.whole for closed in closures if closed.entry.name in raw.needed_by)


def _entry_item(
    closed: EntryClosure, files: list[FileFact], source: Roots, target: Roots | None, waived: bool
) -> StagingItem:
    nine = closed.entry.nine
    cache = nine.cache if nine else None
    below = f"datasets/{cache}" if cache else f"torch_datasets/{nine.raw[0] if nine else ''}"
    kinds = {kind for kind, _ in closed.problems}
    state: ItemState = "missing" if "missing" in kinds else "partial" if kinds else "present"
    where = (source.hf_home, target.hf_home if target else None) if cache else (
        source.molmo, target.molmo if target else None
    )  # fmt: skip
    return item(
        closed.entry.name,
        "cache" if cache else "raw",
        str(where[0] / below),
        str(where[1] / below) if where[1] else None,
        files,
        stated=nine.cache_bytes if nine else None,
        state=state,
        reason=reasons([what for _, what in closed.problems], waived),
    )


def _raw_item(raw: RawFolder, files: list[FileFact], target: Roots | None, waived: bool) -> StagingItem:
    absent = [] if raw.is_there else [f"{raw.folder} is not there, and rows of {raw.needed_by[0]} lack images"]
    return item(
        raw.entry,
        "raw",
        str(raw.folder),
        str(target.raw / raw.name) if target else None,
        files,
        stated=raw.media.founding_bytes if raw.media else None,
        state="missing" if absent else "partial" if raw.problems else "present",
        reason=reasons(absent + raw.problems, waived),
    )


def _reference_items(closed: EntryClosure, files: list[FileFact], target: Roots | None) -> Iterator[StagingItem]:
    """A line for each folder that rows point into: good files first, then what is dangling or outside."""
    groups: dict[tuple[str, str, ItemState], list[FileFact]] = {}
    for fact in files:
        groups.setdefault((*_group(fact.placed.root, fact.placed.relative), "present"), []).append(fact)
    for (root, folder, state), facts in groups.items():
        base = _base(facts[0].placed.path, facts[0].placed.relative)
        dest = str(target.path(root) / folder) if target else None
        yield item(closed.entry.name, "reference", f"{base}/{folder}", dest, facts, state=state)
    bad: dict[tuple[str, ItemState], list[BadReference]] = {}
    for reference in closed.bad:
        place = reference.placed
        folder = _group(place.root, place.relative)[1] if place else str(Path(reference.stored).parent)
        base = f"{_base(place.path, place.relative)}/" if place else ""
        bad.setdefault((f"{base}{folder}", reference.kind), []).append(reference)
    for (folder, state), references in bad.items():
        reason = reasons([f"{reference.stored}: {reference.why}" for reference in references])
        yield item(closed.entry.name, "reference", folder, None, [], state=state, reason=reason)


def _group(root: str, relative: str) -> tuple[str, str]:
    """(root, folder) under which a file is listed: that of its unpacked archive, or its own."""
    parts = relative.split("/")
    if parts[:3] == ["datasets", "downloads", "extracted"] and len(parts) > 4:
        return root, "/".join(parts[:4])
    return root, "/".join(parts[:-1])


def _base(path: Path, relative: str) -> str:
    return str(path)[: -len(relative) - 1]


def reasons(problems: Sequence[str], waived: bool = False) -> str:
    """The problems in one text, the first few of them by name."""
    text = "; ".join(problems[:NAMED])
    if len(problems) > NAMED:
        text += f"; and {len(problems) - NAMED:,} more"
    return f"{text} (waived)" if waived and text else text

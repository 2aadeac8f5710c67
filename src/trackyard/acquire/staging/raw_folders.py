"""Raw folders of the catalogue: the images in them, and whether they are as many as the catalogue states.

Source: nine-datasets spec section 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.acquire.files.walk import walk
from trackyard.acquire.staging.caches import Excluded
from trackyard.acquire.staging.closure import FileFact, look
from trackyard.acquire.staging.columns import IMAGE_NAME
from trackyard.acquire.staging.roots import MOLMO, Placed, Roots
from trackyard.catalog.entries import Entry


@dataclass(slots=True)
class RawFolder:
    """name: as in the catalogue, such as `downloads/val2014`. media: its own entry, None where it has none. needed_by:
    entries whose rows it serves. files: empty where the folder is absent."""

    name: str
    folder: Path
    media: Entry | None
    needed_by: tuple[str, ...]
    files: list[FileFact] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)

    @property
    def entry(self) -> str:
        """Name under which it is listed and waived."""
        return self.media.name if self.media else self.needed_by[0]

    @property
    def is_there(self) -> bool:
        return self.folder.is_dir()


def raw_folders(entries: Sequence[Entry], roots: Roots) -> list[RawFolder]:
    """Raw folders that entries with a cache name, each once. That of an entry without a cache is its own closure."""
    by_alias = {alias: entry for entry in entries for alias in entry.aliases}
    users: dict[str, list[str]] = {}
    for entry in entries:
        if entry.nine is not None and entry.nine.cache is not None:
            for name in entry.nine.raw:
                users.setdefault(name, []).append(entry.name)
    return [_read(name, tuple(needed_by), by_alias, roots) for name, needed_by in users.items()]


def _read(name: str, needed_by: tuple[str, ...], by_alias: Mapping[str, Entry], roots: Roots) -> RawFolder:
    raw = RawFolder(name, roots.raw / name, by_alias.get(name), needed_by)
    if not raw.is_there:
        return raw
    for path in sorted(found.path for found in walk(raw.folder)):
        _take(raw, path, roots)
    stated = raw.media.expected.visual.value if raw.media else None
    if stated is not None and len(raw.files) < stated:
        raw.problems.append(f"{raw.folder} has {len(raw.files):,} images, {stated:,} are stated")
    return raw


def _take(raw: RawFolder, path: str, roots: Roots) -> None:
    full = raw.folder / path
    if not IMAGE_NAME.search(path):
        raw.excluded.append(Excluded(path=str(full), reason="no image"))
        return
    if not path.isascii() and _not_text(path):
        raw.problems.append(f"{str(full)!a}: its name is not UTF-8")
        return
    found = look(Placed(MOLMO, str(full.relative_to(roots.molmo)), full))
    if isinstance(found, FileFact):
        raw.files.append(found)
    else:
        raw.problems.append(f"{full}: {found}")


def _not_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return True
    return False


def excluded_around(roots: Roots, kept: Iterable[str], caches: Iterable[str], raws: Iterable[str]) -> list[Excluded]:
    """What else lies below the roots where the datasets lie, one line for each folder or file, and why it stays.

    kept: paths of the closure below the roots; caches, raws: folders that were read, whose rest is listed elsewhere.
    """
    kept = set(kept)
    tops = {path.rsplit("/", depth)[0] for path in kept for depth in range(1, path.count("/") + 1)}
    read = {str(roots.caches / name) for name in caches} | {str(roots.raw / name) for name in raws}
    places = (
        roots.caches,
        roots.caches / "downloads",
        roots.caches / "downloads/extracted",
        roots.raw,
        roots.raw / "downloads",
    )
    return [
        Excluded(path=path, reason=_reason(path))
        for place in places
        if place.is_dir()
        for path in sorted(str(item) for item in place.iterdir())
        if path not in kept and path not in tops and path not in read and Path(path) not in places
    ]


def _reason(path: str) -> str:
    name = Path(path).name
    if name.endswith(".lock") or ".incomplete" in name:
        return "a lock or an unfinished file"
    if name == "test2015":
        return "no sample of the nine datasets uses it"
    if name.endswith(".zip"):
        return "an archive is opened again only to rebuild a cache"
    if "/downloads/" in path:
        return "no row of the selection points below it"
    return "no dataset of the selection"

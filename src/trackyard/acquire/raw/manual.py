"""Sets that a person must get: what to do, finding what was brought, and taking it in.

Source: pain 5; nine-datasets spec section 2; the entries' `manual` groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trackyard.acquire.archives.unpack import UnpackLimits
from trackyard.acquire.files.manifest import FileManifest
from trackyard.acquire.raw.copying import copy_folder
from trackyard.acquire.raw.fetch import Progress, check_names, prefix_of, stage_archive
from trackyard.acquire.raw.folder import RawFolder, Staged
from trackyard.acquire.raw.given import Given, given_from, layout_of, page_of
from trackyard.catalog.entries import Archive, Entry
from trackyard.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Instructions:
    """What a person must do. archives: that the page gives; layout: paths that must exist afterwards below `folder`."""

    entry: str
    title: str
    page: str
    steps: tuple[str, ...]
    archives: tuple[Archive, ...]
    layout: tuple[str, ...]
    licence: str
    needs: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The same as text."""
        yield f"{self.entry}: {self.title}"
        yield f"page     {self.page}"
        yield f"licence  {self.licence}"
        for number, step in enumerate(self.steps, 1):
            yield f"{number:>4}. {step}"
        for archive in self.archives:
            size = "size unknown" if archive.bytes is None else f"{archive.bytes:,} bytes"
            yield f"archive  {archive.name} ({size}, sha256 {archive.sha256 or 'not published'})"
        yield f"then     trackyard data fetch {self.entry} --archive PATH   (archives, or the folder they unpack to)"
        for path in self.layout:
            yield f"gives    raw/{self.entry}/{path}"
        for need in self.needs:
            yield f"needs    {need} beside it"


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenFrom:
    """One file or folder that was given. sha256: of a file. into: folder below the entry's; "" for itself."""

    path: Path
    name: str
    bytes: int
    sha256: str | None
    into: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What lies in an entry's raw folder by its record. changed: whether this call brought any of it."""

    entry: str
    directory: Path
    sources: tuple[TakenFrom, ...]
    files: int
    bytes: int
    changed: bool


def instructions(entry: Entry) -> Instructions:
    """What to do for `entry`. ConfigError if nothing is known that a person could do."""
    if entry.manual is None:
        raise ConfigError(
            what=f"{entry.name} has no steps for a person",
            why=f"its access is {entry.access!r}",
            fix=f"`trackyard data fetch {entry.name}`, or `trackyard data show {entry.name}` for what is known",
        )
    return Instructions(
        entry=entry.name,
        title=entry.title,
        page=entry.manual.page,
        steps=entry.manual.steps,
        archives=tuple(archive for archive in entry.recipe.archives if archive.url is None),
        layout=entry.manual.layout,
        licence=f"{entry.licence.name} ({entry.licence.basis})",
        needs=entry.needs,
    )


def find(entry: Entry, places: Sequence[Path]) -> tuple[Path, ...]:
    """What `take` can be given, among `places`: files as they are told, and of folders the archives of `entry` in them.

    Where there is no archive: folders that have the whole layout, or are a part of it by name.
    """
    check_names(entry)
    found = {place.name: place for place in reversed(places) if place.is_file()}
    folders = [folder for place in places for folder in (place / entry.name, place) if folder.is_dir()]
    for archive in entry.recipe.archives:
        for folder in folders:
            if (folder / archive.name).is_file():
                found.setdefault(archive.name, folder / archive.name)
    if found:
        return tuple(found.values())
    layout = layout_of(entry)
    for folder in folders:
        if layout and all((folder / path).exists() for path in layout):
            return (folder,)
    names = {path.rpartition("/")[2] for path in layout}
    return tuple(folder for folder in folders if folder.resolve().name in names)


def take(
    entry: Entry,
    archives: Sequence[Path],
    raw_root: Path,
    *,
    dry_run: bool = False,
    limits: UnpackLimits | None = None,
    progress: Progress | None = None,
) -> Taken:
    """Check what a person has brought, and make `raw_root`/<entry>/ from it. What was given stays where it is.

    archives: all that are still missing, or folders with their unpacked contents, which are copied. dry_run: check
    names, sizes and digests only. Raises ConfigError (nothing given, unknown name, one is missing), DataError
    (another size or digest, damaged or refused archive, a path of the layout that did not come), EnvironmentLacking.
    """
    check_names(entry)
    folder = RawFolder(entry, raw_root)
    record = folder.record()
    given = [given_from(entry, path) for path in archives]
    _check_complete(entry, folder, record, given)
    new = [item for item in given if record is None or dict(item.facts) not in record.source["archives"]]
    if new and not dry_run:
        with folder.locked():
            record = folder.settle(_stage(folder, new, limits, progress))
            folder.discard(downloads=False)
    files = record.files if record else ()
    return Taken(
        entry=entry.name,
        directory=folder.directory,
        sources=tuple(
            TakenFrom(
                path=item.path,
                name=item.archive.name,
                bytes=item.facts["bytes"],
                sha256=item.facts["sha256"],
                into=item.prefix,
            )
            for item in given
        ),
        files=len(files),
        bytes=sum(file.bytes for file in files),
        changed=bool(new) and not dry_run,
    )


def _check_complete(entry: Entry, folder: RawFolder, record: FileManifest | None, given: Sequence[Given]) -> None:
    """ConfigError if nothing is given, if two are one, or if an archive that only a person can bring is missing."""
    names = [item.archive.name for item in given]
    missing = [
        archive.name
        for archive in entry.recipe.archives
        if archive.url is None and archive.name not in names and not folder.holds(archive, record)
    ]
    unpacked = any(item.path.is_dir() for item in given)
    if given and len(set(names)) == len(names) and (unpacked or not missing):
        return
    problem = f"{', '.join(missing)} missing" if missing else "an archive given twice" if given else "nothing given"
    raise ConfigError(
        what=f"{entry.name}: {problem}",
        why="its layout can be checked only when all of it is there",
        fix=f"name every archive, or the folder with what they unpack to; {page_of(entry)}",
    )


def _stage(
    folder: RawFolder, given: Sequence[Given], limits: UnpackLimits | None, progress: Progress | None
) -> list[Staged]:
    """Unpack or copy everything given, and check the layout before any of it is moved to its place."""
    staged = []
    for item in given:
        earlier = folder.staged(item.archive, prefix=item.prefix)
        if earlier is not None and earlier.facts == item.facts:
            staged.append(earlier)
        elif item.path.is_dir():
            staged.append(folder.stage(item.facts, prefix=item.prefix, fill=partial(copy_folder, item.path)))
        else:
            staged.append(
                stage_archive(
                    folder, item.archive, item.path, item.facts,
                    limits=limits, progress=progress, link=False, prefix=item.prefix,
                )
            )  # fmt: skip
    record = folder.record()
    paths = {file.path for file in (record.files if record else ())}
    paths |= {file.path for item in staged for _, file in item.moves()}
    names = {item.archive.name for item in given}
    still_fetched = [
        prefix_of(archive)
        for archive in folder.entry.recipe.archives
        if archive.url is not None and archive.name not in names and not folder.holds(archive, record)
    ]
    absent = [
        path
        for path in layout_of(folder.entry)
        if not _is_there(path, paths) and not any(_is_below(path, prefix) for prefix in still_fetched)
    ]
    if absent:
        folder.discard(downloads=False)
        top = sorted({path.partition("/")[0] for path in paths})
        raise DataError(
            what=f"{folder.entry.name}: {', '.join(absent)} did not come; what was given holds {', '.join(top[:10])}",
            why="these paths are read by name",
            fix="if they lie deeper in the archive, unpack it and name the folder that holds them; else "
            + page_of(folder.entry),
        )
    return staged


def _is_there(path: str, paths: set[str]) -> bool:
    return path in paths or any(_is_below(other, path) for other in paths)


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")

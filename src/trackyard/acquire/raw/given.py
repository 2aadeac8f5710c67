"""What a path that a person names stands for: which archive of an entry, or which part of its layout.

Source: pain 5; the entries' `manual` groups.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.archives.members import relative_path
from trackyard.acquire.raw.fetch import facts_of, prefix_of
from trackyard.acquire.raw.folder import Facts
from trackyard.catalog.entries import Archive, Entry
from trackyard.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class Given:
    """A path with the archive that it stands for; prefix: where its contents go."""

    path: Path
    archive: Archive
    prefix: str
    facts: Facts


def layout_of(entry: Entry) -> list[str]:
    """Paths that must exist, without a slash at their ends."""
    return [relative_path(path) for path in entry.manual.layout] if entry.manual else []


def page_of(entry: Entry) -> str:
    page = f" from {entry.manual.page}" if entry.manual else ""
    return f"get it{page}; `trackyard data instructions {entry.name}` says how"


def given_from(entry: Entry, path: Path) -> Given:
    """What a path stands for, checked against what the catalogue states."""
    if path.is_dir():
        prefix = _place_in_layout(entry, path)
        archive = Archive(name=path.resolve().name, unpack=prefix or ".")
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Given(path, archive, prefix, facts_of(archive, size=size, sha256=None, url=None))
    if not path.is_file():
        raise ConfigError(
            what=f"{path} does not exist", why=f"{entry.name} was to be taken from it", fix=page_of(entry)
        )
    with open(path, "rb") as handle:
        sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    archive = _archive_of(entry, path, sha256)
    size = path.stat().st_size
    if archive.bytes not in (None, size) or (archive.sha256 or sha256).lower() != sha256:
        expected = f"{archive.bytes:,} bytes" if archive.bytes is not None else "a file"
        raise DataError(
            what=f"{path} has {size:,} bytes and sha256 {sha256}; {archive.name} is {expected} with sha256 "
            f"{archive.sha256 or 'unknown'}",
            why="it is cut, damaged, or another version",
            fix=page_of(entry),
        )
    prefix = prefix_of(archive) if archive.unpack is not None else _place_of_file(entry, archive)
    return Given(path, archive, prefix, facts_of(archive, size=size, sha256=sha256, url=None))


def _archive_of(entry: Entry, path: Path, sha256: str) -> Archive:
    """The archive that a file is: by its name, or by its digest where a browser has renamed it."""
    known = entry.recipe.archives
    for archive in known:
        if archive.name == path.name or (archive.sha256 or "").lower() == sha256:
            return archive
    if any(item.rpartition("/")[2] == path.name for item in layout_of(entry)):
        return Archive(name=path.name)
    if not known:
        return Archive(name=path.name, unpack=".")
    expected = ", ".join(f"{archive.name} (sha256 {archive.sha256 or 'unknown'})" for archive in known)
    raise ConfigError(
        what=f"{path.name} (sha256 {sha256}) is none of the archives of {entry.name}: {expected}",
        why="files of another set would lie under its name",
        fix=f"give the file its published name if it is one of them, or {page_of(entry)}",
    )


def _place_of_file(entry: Entry, archive: Archive) -> str:
    """Folder of a file that is kept as it is: where the layout has its name, else the entry's own."""
    found = [path for path in layout_of(entry) if path.rpartition("/")[2] == archive.name]
    return found[0].rpartition("/")[0] if found else ""


def _place_in_layout(entry: Entry, folder: Path) -> str:
    """Where a folder belongs: "" if it holds a part of the layout, else the path of the layout that has its name."""
    layout = layout_of(entry)
    if not layout or any((folder / path).exists() for path in layout):
        return ""
    found = [path for path in layout if path.rpartition("/")[2] == folder.resolve().name]
    if found:
        return found[0]
    raise DataError(
        what=f"{folder} holds nothing of {', '.join(layout)}",
        why=f"{entry.name} is read from these paths",
        fix=f"name the folder that holds them, or {page_of(entry)}",
    )

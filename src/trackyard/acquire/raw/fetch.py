"""Archives of an entry that are fetched by URL: downloaded, checked, unpacked and recorded.

Source: pains 15 and 16; reliability spec F1, F3 and F18.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trackyard.acquire.archives.members import RefusedName, relative_path
from trackyard.acquire.archives.unpack import UnpackLimits, unpack
from trackyard.acquire.files.manifest import FileManifest
from trackyard.acquire.raw.folder import Facts, RawFolder, Staged
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.acquire.web.download import download_file
from trackyard.catalog.entries import Archive, Entry
from trackyard.durable import atomic_directory
from trackyard.errors import ConfigError, DataError

Progress = Callable[[str, int, int | None], None]
"""Takes (what is being done, bytes done by this call, bytes in all or None where unknown)."""

ArchiveProgress = Literal["absent", "downloaded", "unpacked", "recorded"]

_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV)
_PAGE = (b"<!doctype html", b"<html")


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveState:
    """How far one archive has come. bytes: as the catalogue states."""

    name: str
    url: str | None
    bytes: int | None
    unpack: str | None
    state: ArchiveProgress


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedRaw:
    """What lies in an entry's raw folder by its record. changed: whether this call brought any of it."""

    entry: str
    directory: Path
    archives: tuple[ArchiveState, ...]
    files: int
    bytes: int
    changed: bool


def fetch_archives(
    entry: Entry,
    raw_root: Path,
    *,
    policy: AddressPolicy,
    progress: Progress | None = None,
    dry_run: bool = False,
    keep_archives: bool = False,
    limits: UnpackLimits | None = None,
) -> FetchedRaw:
    """Bring every archive of `entry` that has a URL to `raw_root`/<entry>/; what is recorded is left alone.

    Killed anywhere, the next call goes on there: downloads are kept until the record is written, and longer with
    `keep_archives`. dry_run: only say how far each archive has come. Raises ConfigError if no archive has a URL,
    DataError (wrong digest, damaged or refused archive), EnvironmentLacking (network, disk).
    """
    archives = fetchable(entry)
    folder = RawFolder(entry, raw_root)
    record = folder.record()
    missing = [archive for archive in archives if not folder.holds(archive, record)]
    if not dry_run and (missing or folder.work.exists()):
        with folder.locked():
            record = folder.record()  # once more: another process may have been at work until now
            missing = [archive for archive in archives if not folder.holds(archive, record)]
            if missing:
                record = folder.settle([_bring(folder, archive, policy, limits, progress) for archive in missing])
            folder.discard(downloads=not keep_archives)
    files = record.files if record else ()
    return FetchedRaw(
        entry=entry.name,
        directory=folder.directory,
        archives=tuple(_state(folder, archive, record) for archive in archives),
        files=len(files),
        bytes=sum(file.bytes for file in files),
        changed=bool(missing) and not dry_run,
    )


def fetchable(entry: Entry) -> Sequence[Archive]:
    """Archives of `entry` that have a URL; ConfigError if there is none, or if the catalogue's names cannot be."""
    check_names(entry)
    archives = [archive for archive in entry.recipe.archives if archive.url is not None]
    if not archives:
        raise ConfigError(
            what=f"no archive of {entry.name} has an address",
            why="its data are brought another way",
            fix=f"`trackyard data show {entry.name}` and `trackyard data instructions {entry.name}` say how",
        )
    return archives


def check_names(entry: Entry) -> None:
    """ConfigError if two archives share a name, or if a name or folder of one leads elsewhere."""
    seen: set[str] = set()
    for archive in entry.recipe.archives:
        try:
            problem = "two archives have that name" if archive.name in seen else ""
            if relative_path(archive.name) != archive.name or "/" in archive.name or archive.name.startswith("."):
                problem = "it is no plain file name"
            relative_path(archive.unpack or "")
        except RefusedName as error:
            problem = str(error)
        if problem:
            raise ConfigError(
                what=f"archive {archive.name!r} of {entry.name}, unpack {archive.unpack!r}: {problem}",
                why="an archive lies under its name while it is brought, and unpacks below the entry's raw folder",
                fix=f"correct the entry {entry.name} in the catalogue",
            )
        seen.add(archive.name)


def prefix_of(archive: Archive) -> str:
    """Folder below the entry's that an archive unpacks into; "" for itself."""
    return relative_path(archive.unpack or "")


def _bring(
    folder: RawFolder, archive: Archive, policy: AddressPolicy, limits: UnpackLimits | None, progress: Progress | None
) -> Staged:
    staged = folder.staged(archive, prefix=prefix_of(archive))
    if staged is not None:
        return staged
    if archive.url is None:
        raise ValueError(f"{archive.name} has no address")
    done = 0

    def downloaded(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(f"download {archive.name}", done, archive.bytes)

    brought = download_file(
        archive.url,
        folder.downloads / archive.name,
        expected_bytes=archive.bytes,
        sha256=archive.sha256,
        policy=policy,
        on_bytes=downloaded,
    )
    facts = facts_of(archive, size=brought.bytes, sha256=brought.sha256, url=archive.url)
    try:
        return stage_archive(folder, archive, brought.path, facts, limits=limits, progress=progress, link=True)
    except DataError:
        if archive.sha256 is None:
            # Nobody says that these are the right bytes, so the next call must not find them.
            os.replace(brought.path, brought.path.with_name(f"{archive.name}.refused"))
        raise


def facts_of(archive: Archive, *, size: int, sha256: str | None, url: str | None) -> Facts:
    """What the record says of one archive. url: None for one that a person has brought."""
    return {"name": archive.name, "bytes": size, "sha256": sha256, "url": url, "unpack": archive.unpack}


def stage_archive(
    folder: RawFolder,
    archive: Archive,
    path: Path,
    facts: Facts,
    *,
    limits: UnpackLimits | None,
    progress: Progress | None,
    link: bool,
    prefix: str | None = None,
) -> Staged:
    """Unpack the file `path`, or take it as it is where the catalogue says so. link: share its bytes if that can be."""

    def unpacked(_files: int, size: int) -> None:
        if progress is not None:
            progress(f"unpack {archive.name}", size, None)

    def fill(tree: Path) -> None:
        if archive.unpack is not None:
            unpack(path, tree, limits=limits, progress=unpacked)
            return
        _refuse_page(path, archive)
        with atomic_directory(tree) as fresh:
            _copy(path, fresh / archive.name, link=link)

    return folder.stage(facts, prefix=prefix_of(archive) if prefix is None else prefix, fill=fill)


def _copy(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
            return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
    shutil.copyfile(source, target)


def _refuse_page(path: Path, archive: Archive) -> None:
    with open(path, "rb") as handle:
        begin = handle.read(512).lstrip().lower()
    if begin.startswith(_PAGE) and Path(archive.name).suffix.lower() not in (".html", ".htm"):
        raise DataError(
            what=f"{path} is a web page, not {archive.name}",
            why="a server that wants a login, or has moved the file, answers with a page",
            fix=f"open {archive.url or 'the page of the data set'} in a browser to see what it wants",
        )


def _state(folder: RawFolder, archive: Archive, record: FileManifest | None) -> ArchiveState:
    state: ArchiveProgress = "absent"
    if folder.holds(archive, record):
        state = "recorded"
    elif folder.staged(archive, prefix="") is not None:
        state = "unpacked"
    elif (folder.downloads / archive.name).is_file():
        state = "downloaded"
    return ArchiveState(name=archive.name, url=archive.url, bytes=archive.bytes, unpack=archive.unpack, state=state)

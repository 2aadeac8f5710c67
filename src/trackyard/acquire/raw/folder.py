"""The raw folder of an entry: what is brought is staged beside it, moved into it when complete, and recorded last.

    <raw root>/<entry>/…                        what was brought, and its record (files.json)
    <raw root>/.incoming/<entry>/downloads/     archives as downloaded
    <raw root>/.incoming/<entry>/staged/<name>/ what one archive unpacks to, with a record of its own

A folder without a record is not complete, whatever lies in it. Every step can be killed and begun again.
Source: design sections 3 and 4, style guide section 4, reliability spec F1.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trackyard.acquire.archives.members import Members, RefusedName
from trackyard.acquire.files.manifest import NAME, FileDigest, FileManifest
from trackyard.acquire.files.tree import manifest_of
from trackyard.catalog.entries import Archive, Entry
from trackyard.durable import TEMPORARY, fsync_directory, sweep
from trackyard.errors import DataError, EnvironmentLacking
from trackyard.exclusive import exclusive

INCOMING = ".incoming"
TREE = "tree"

Facts = Mapping[str, Any]
"""What was brought: name, bytes, sha256, url (None: by hand), unpack."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """Files that are complete and wait to be moved. prefix: folder below the entry's that they go to; "" for itself.
    files: paths below `place`, of which the first part is always `TREE`."""

    place: Path
    prefix: str
    facts: Facts
    files: tuple[FileDigest, ...]

    def moves(self) -> Iterator[tuple[Path, FileDigest]]:
        """(where a file is now, what it becomes below the entry's folder)."""
        for file in self.files:
            below = file.path.removeprefix(f"{TREE}/")
            yield self.place / file.path, replace(file, path=f"{self.prefix}/{below}" if self.prefix else below)


@dataclass(frozen=True, slots=True)
class RawFolder:
    """The raw folder of one entry below `root`."""

    entry: Entry
    root: Path

    @property
    def directory(self) -> Path:
        return self.root / self.entry.name

    @property
    def work(self) -> Path:
        return self.root / INCOMING / self.entry.name

    @property
    def downloads(self) -> Path:
        return self.work / "downloads"

    def record(self) -> FileManifest | None:
        """The record, None before there is one. DataError if it is damaged, or if files that it names are gone."""
        if not (self.directory / NAME).is_file():
            return None
        manifest = FileManifest.read(self.directory)
        gone = [file.path for file in manifest.files if _size(self.directory / file.path) != file.bytes]
        if gone:
            raise DataError(
                what=f"{self.directory}: {len(gone):,} of {len(manifest.files):,} recorded files are missing or have "
                f"another size, {gone[0]} first",
                why="what was complete is not any more: a purge, or an edit",
                fix=f"`rm -r {self.directory}`, then `trackyard data fetch {self.entry.name}`",
            )
        return manifest

    def holds(self, archive: Archive, record: FileManifest | None) -> bool:
        """Whether `record` names this archive. DataError if it names another one of the same name."""
        for facts in record.source["archives"] if record else ():
            if facts["name"] == archive.name:
                if not matches(facts, archive):
                    raise DataError(
                        what=f"{self.directory} was made from another {archive.name}: {described(facts)}; the "
                        f"catalogue has {described(archive.model_dump())}",
                        why="files of two versions would lie under one name",
                        fix=f"`rm -r {self.directory}`, then `trackyard data fetch {self.entry.name}`",
                    )
                return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work on this folder alone; what killed processes left half unpacked is removed.

        Raises TrackyardError if another process works on it, EnvironmentLacking if something cannot be written.
        """
        what = f"the raw folder of {self.entry.name}"
        with exclusive(
            self.root / INCOMING / f"{self.entry.name}.lock", what=what, why="two of them would mix their files"
        ):
            try:
                for place in sorted((self.work / "staged").glob("*")):
                    sweep(place)
                yield
            except OSError as error:
                raise EnvironmentLacking(
                    what=f"{self.root} cannot be written: {error}",
                    why=f"the data of {self.entry.name} go there",
                    fix=f"make room (`df -h -i {self.root}`) or make it writable, then run the same command again",
                ) from error

    def staged(self, archive: Archive, *, prefix: str) -> Staged | None:
        """What an earlier call staged from this archive completely, if it is still the one that the catalogue means."""
        place = self.work / "staged" / archive.name
        if not (place / NAME).is_file():
            return None
        manifest = FileManifest.read(place)
        if not matches(manifest.source, archive):
            return None
        return Staged(place=place, prefix=prefix, facts=manifest.source, files=manifest.files)

    def stage(self, facts: Facts, *, prefix: str, fill: Callable[[Path], object]) -> Staged:
        """Let `fill` make a new folder from an archive, then record what is in it."""
        place = self.work / "staged" / str(facts["name"])
        if place.exists():
            shutil.rmtree(place)
        fill(place / TREE)
        manifest = manifest_of(place, name=str(facts["name"]), source=facts)
        held = sum(len(names) for _, _, names in os.walk(place / TREE))
        if held != len(manifest.files):
            raise DataError(
                what=f"{facts['name']} brings {held:,} files, of which {held - len(manifest.files):,} are named "
                f"{TEMPORARY}… or lie in a folder named so",
                why="such names are kept for what is not complete, and readers pass over them",
                fix="rename them, and take the folder that holds them",
            )
        manifest.write(place)
        return Staged(place=place, prefix=prefix, facts=facts, files=manifest.files)

    def settle(self, staged: Sequence[Staged]) -> FileManifest:
        """Move everything staged into the folder and write its record. DataError before the first move if it clashes.

        Killed in between, it goes on where it was: what has left its place must have arrived.
        """
        record = self.record()
        moves = [move for item in staged for move in item.moves()]
        arriving = [file for _, file in moves]
        earlier = record.files if record else ()
        self._check_names([*earlier, *arriving])
        for source, file in moves:
            target = self.directory / file.path
            if source.exists() and os.path.lexists(target):
                raise DataError(
                    what=f"{target} exists, and no record says where it is from",
                    why=f"{file.path} of {self.entry.name} belongs there",
                    fix=f"move it away, then run the same command again; or `rm -r {self.directory}` to begin anew",
                )
            if not source.exists() and _size(target) != file.bytes:
                raise DataError(
                    what=f"{file.path} of {self.entry.name} is neither in {source.parent} nor in {target.parent}",
                    why="it was unpacked, and has been removed since",
                    fix=f"`rm -r {self.work} {self.directory}`, then run the same command again",
                )
        folders = {self.directory}
        for source, file in moves:
            target = self.directory / file.path
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
            folders.update(parent for parent in target.parents if parent.is_relative_to(self.directory))
        self.directory.mkdir(parents=True, exist_ok=True)
        for folder in sorted(folders):
            fsync_directory(folder)
        known = record.source["archives"] if record else []
        manifest = FileManifest(
            name=self.entry.name,
            source={"entry": self.entry.name, "archives": [*known, *(dict(item.facts) for item in staged)]},
            files=tuple(sorted([*earlier, *arriving], key=lambda file: file.path)),
        )
        manifest.write(self.directory)
        return manifest

    def discard(self, *, downloads: bool) -> None:
        """Remove what was staged, and the downloaded archives if told so. The folder itself stays as it is."""
        for place in (self.work / "staged", *([self.work] if downloads else [])):
            if place.exists():
                shutil.rmtree(place)

    def _check_names(self, files: Sequence[FileDigest]) -> None:
        members = Members(max_entries=sys.maxsize)
        members.claim(NAME, folder=False)
        for file in files:
            try:
                members.claim(file.path, folder=False)
            except RefusedName as error:
                raise DataError(
                    what=f"{self.entry.name} would hold {file.path}: {error}",
                    why="two archives bring a file of one name, and one would replace the other",
                    fix="correct `unpack` of its archives in the catalogue, so that each has a folder of its own",
                ) from error


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def described(facts: Facts) -> str:
    """What is known of an archive, in one line."""
    size = "unknown size" if facts["bytes"] is None else f"{facts['bytes']:,} bytes"
    origin = facts["url"] or "brought by hand"
    return f"{facts['name']}, {size}, sha256 {facts['sha256'] or 'unknown'}, {origin}, unpacked to {facts['unpack']!r}"


def matches(facts: Facts, archive: Archive) -> bool:
    """Whether what was brought is what the catalogue describes now. A published digest outweighs a moved address."""
    if facts["name"] != archive.name or facts["unpack"] != archive.unpack:
        return False
    if archive.sha256 is not None:
        return bool(facts["sha256"] == archive.sha256.lower())
    return facts["url"] in (None, archive.url) and archive.bytes in (None, facts["bytes"])

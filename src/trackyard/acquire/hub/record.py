"""What is known of a hub repository's copy on this disk: which files were expected, and which were proved.

The record is written with every expected file before the first byte is fetched, and completed after the last one was
proved. Reading and verifying need no network. Source: pains 15, reliability F27.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trackyard.acquire.hub.files import CachePlace, Listing, RemoteFile, RepositoryKind, select_files
from trackyard.catalog.entries import UNPINNED, HubSource
from trackyard.errors import DataError, EnvironmentLacking
from trackyard.exclusive import exclusive
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-hub-record/1"

FETCH_AGAIN = "`trackyard data fetch NAME` with the name of its catalogue entry, on a machine with network"
SHARED = "two processes would remove each other's files"


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedRepository:
    """A complete copy. directory: its snapshot folder; files, bytes: count and size of `contents`, the selected files.

    pinned: False where `commit` is only where `main` stood.
    """

    repo: str
    commit: str
    directory: Path
    files: int
    bytes: int
    contents: tuple[RemoteFile, ...]
    pinned: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class HubReport:
    """What a look at a copy found. examined: files; bytes: their sizes on disk. Paths are relative to the snapshot.

    extra: files that the repository does not hold at this commit.
    """

    examined: int
    bytes: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Everything that was expected is there and right; extra files do no harm."""
        return not self.missing and not self.changed


@dataclass(frozen=True, kw_only=True, slots=True)
class HubRecord:
    """files: all files of the repository at `commit`; expected: paths that were asked for; proved: paths whose size and
    digest were right when they came, and that are on the device."""

    place: CachePlace
    commit: str
    files: tuple[RemoteFile, ...]
    expected: frozenset[str] = frozenset()
    proved: frozenset[str] = frozenset()

    @classmethod
    def of(cls, place: CachePlace, listing: Listing) -> HubRecord:
        return cls(place=place, commit=listing.commit, files=listing.files)

    @property
    def directory(self) -> Path:
        return self.place.snapshot(self.commit)

    @property
    def state(self) -> Literal["expected", "complete"]:
        return "complete" if self.expected and self.expected <= self.proved else "expected"

    def expecting(self, files: Iterable[RemoteFile]) -> HubRecord:
        return replace(self, expected=self.expected | {file.path for file in files})

    def proving(self, paths: Iterable[str]) -> HubRecord:
        return replace(self, proved=self.proved | set(paths))

    def doubting(self, paths: Iterable[str]) -> HubRecord:
        return replace(self, proved=self.proved - set(paths))

    def write(self) -> None:
        write_document(
            self.place.record(self.commit),
            SCHEMA,
            {
                "repo": self.place.repo,
                "kind": self.place.kind,
                "commit": self.commit,
                "state": self.state,
                "files": [self._entry(file) for file in self.files],
            },
        )

    def _entry(self, file: RemoteFile) -> dict[str, Any]:
        digest = {"sha256": file.sha256} if file.sha256 is not None else {"git_sha1": file.git_sha1}
        known = "proved" if file.path in self.proved else "expected" if file.path in self.expected else "listed"
        return {"path": file.path, "bytes": file.bytes} | digest | {"state": known}

    @classmethod
    def read(cls, place: CachePlace, commit: str) -> HubRecord:
        """DataError if there is none, or if it is damaged or of another version."""
        path = place.record(commit)
        body = read_document(path, SCHEMA, fix=FETCH_AGAIN)
        try:
            states = {entry["path"]: entry["state"] for entry in body["files"]}
            files = tuple(
                RemoteFile(
                    path=entry["path"],
                    bytes=entry["bytes"],
                    sha256=entry.get("sha256"),
                    git_sha1=entry.get("git_sha1"),
                )
                for entry in body["files"]
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                what=f"{path} lacks {error}",
                why="a damaged record proves nothing",
                fix=f"remove {path}, then {FETCH_AGAIN}: files that are there are checked, not fetched",
            ) from error
        proved = frozenset(name for name, state in states.items() if state == "proved")
        expected = proved | {name for name, state in states.items() if state == "expected"}
        return cls(place=place, commit=commit, files=files, expected=expected, proved=proved)

    def fetched(self, source: HubSource) -> FetchedRepository:
        """The copy of what `source` selects; DataError if any of it was never proved."""
        contents = select_files(self.files, source.files, repo=self.place.repo)
        lacking = [file.path for file in contents if file.path not in self.proved]
        if lacking:
            raise DataError(
                what=f"the copy of {self.place.repo} at {self.commit[:12]} is not complete: {len(lacking)} of "
                f"{len(contents)} files are not there or not proved, such as {lacking[0]}",
                why="a part of a data set is another data set",
                fix=FETCH_AGAIN,
            )
        return FetchedRepository(
            repo=self.place.repo,
            commit=self.commit,
            directory=self.directory,
            files=len(contents),
            bytes=sum(file.bytes for file in contents),
            contents=contents,
            pinned=source.revision != UNPINNED,
        )


def place_of(source: HubSource, cache: Path, kind: RepositoryKind) -> CachePlace:
    return CachePlace(cache=cache.absolute(), repo=source.repo, kind=kind)


def read_record(source: HubSource, cache: Path, *, kind: RepositoryKind = "dataset") -> FetchedRepository:
    """The copy of `source`, by its record alone: no network, no look at the files (`verify_repository` does that).

    DataError if it was never completed, or if `verify_repository` has found damage since.
    """
    place = place_of(source, cache, kind)
    return HubRecord.read(place, _known_commit(source, place)).fetched(source)


def _known_commit(source: HubSource, place: CachePlace) -> str:
    if source.revision != UNPINNED:
        return source.revision
    try:
        return place.main.read_text().strip()
    except FileNotFoundError as error:
        raise DataError(
            what=f"no copy of {source.repo} in {place.cache}, and its entry pins no revision",
            why="which commit is meant can only be asked on the network",
            fix=FETCH_AGAIN,
        ) from error


def verify_repository(
    source: HubSource,
    cache: Path,
    *,
    full: bool,
    kind: RepositoryKind = "dataset",
    workers: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> HubReport:
    """Compare a completed copy with its record, offline: presence and sizes always, digests too when `full`.

    progress: called with (files examined, files) from this thread. DataError if the copy was never completed.
    A digest that is wrong although the size is right loses its proof, so that the next fetch brings that file anew.
    """
    place = place_of(source, cache, kind)
    fetched = read_record(source, cache, kind=kind)
    faults: dict[str, str] = {}
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda file: file.fault(fetched.directory / file.path, full=full), fetched.contents)
        for number, (file, fault) in enumerate(zip(fetched.contents, found, strict=True), start=1):
            if fault is not None:
                faults[file.path] = fault
            if progress is not None:
                progress(number, fetched.files)
    _withdraw(place, fetched.commit, [path for path, fault in faults.items() if fault == "digest"])
    present = [file for file in fetched.contents if faults.get(file.path) != "missing"]
    return HubReport(
        examined=fetched.files,
        bytes=sum((fetched.directory / file.path).stat().st_size for file in present),
        missing=tuple(path for path, fault in faults.items() if fault == "missing"),
        changed=tuple(path for path, fault in faults.items() if fault != "missing"),
        extra=_extra(HubRecord.read(place, fetched.commit)),
    )


def _withdraw(place: CachePlace, commit: str, paths: list[str]) -> None:
    if not paths:
        return
    # A cache that cannot be written cannot be repaired from here either; the report says what is wrong with it.
    with suppress(EnvironmentLacking, PermissionError), exclusive(
        place.exclusive, what=f"the hub copy of {place.repo}", why=SHARED
    ):  # fmt: skip
        HubRecord.read(place, commit).doubting(paths).write()


def _extra(record: HubRecord) -> tuple[str, ...]:
    listed = {file.path for file in record.files}
    found = (
        (Path(directory) / name).relative_to(record.directory).as_posix()
        for directory, _, names in os.walk(record.directory)
        for name in names
    )
    return tuple(sorted(path for path in found if path not in listed))

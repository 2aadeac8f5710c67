"""The proof that a directory still holds the files of its record. Source: reliability spec F6, F8, F9 and F27."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trackyard.acquire.files.hashing import Progress, hash_files
from trackyard.acquire.files.manifest import NAME, FileDigest, FileManifest
from trackyard.acquire.files.stat_cache import SAMPLE, StatCache, is_racy, place_of, stamp
from trackyard.acquire.files.walk import Ignore, walk

Mode = Literal["fast", "full"]
ROUND_BYTES = 32 << 30
"""Bytes after which what was proved is written down: under a minute of a fast disk."""

_Pending = tuple[FileDigest, os.stat_result]


@dataclass(frozen=True, slots=True)
class Changed:
    """A file that is not what its record says. expected, found: digest and size, or why it could not be read."""

    path: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: {self.found}, expected {self.expected}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FilesReport:
    """What a verification saw. examined: files that are there, hashed or trusted; bytes: their sizes. trusted: files
    that were not read because they look as they did when they were last proved. extra: not in the record."""

    examined: int
    bytes: int
    hashed: int
    trusted: int
    missing: tuple[str, ...]
    changed: tuple[Changed, ...]
    extra: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What this verification could not see or keep; no problem of the files."""

    @property
    def ok(self) -> bool:
        """Everything is there and right, nothing else is there, and something was examined."""
        return not self.problems()

    def problems(self) -> list[str]:
        """One line for each file that is missing, changed or not in the record."""
        lines = [f"{path}: absent" for path in self.missing]
        lines += [str(changed) for changed in self.changed]
        lines += [f"{path}: not in the record" for path in self.extra]
        return lines or ([] if self.examined else ["no file was examined: the record lists none"])


def verify_files(
    directory: Path,
    *,
    mode: Mode = "full",
    manifest: FileManifest | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    ignore: Ignore | None = None,
    cache: Path | None = None,
) -> FilesReport:
    """Compare the files of `directory` with their record, by default its files.json (DataError if that is no good).

    full: every byte is read. fast: a file is trusted if its size, times and inode are those it had when it was last
    proved, except for one in `SAMPLE` that is read in turn; `notes` says what that cannot see.
    progress: counts of what is read. ignore: as for `manifest_of`. cache: the file that remembers what was proved, by
    default outside of the directory (`stat_cache.place_of`). It is written every `ROUND_BYTES`, so that after a stop,
    however hard, a fast verification goes on from there. Links are followed: a linked DVC cache is proved through.
    """
    manifest = manifest or FileManifest.read(directory)
    cache = cache or place_of(directory)
    remembered = StatCache.read(cache)
    look = _look(directory, manifest, remembered if mode == "fast" else None)
    proof = _Proof(changed=list(look.changed), proved=dict(look.trusted))
    for some in _rounds(look.pending):
        if proof.files:
            remembered.remember(cache, directory, proof.so_far(remembered), next_turn=False)
        proof.read(str(directory), some, workers, progress)
    notes = [_blind(len(look.trusted))] if look.trusted else []
    unwritten = remembered.remember(cache, directory, proof.proved, next_turn=mode == "fast")
    if unwritten:
        notes.append(unwritten)
    return FilesReport(
        examined=len(look.pending) + len(look.trusted),
        bytes=look.bytes,
        hashed=len(look.pending),
        trusted=len(look.trusted),
        missing=tuple(look.missing),
        changed=tuple(proof.changed),
        extra=tuple(sorted(_extra(directory, manifest, ignore))),
        notes=tuple(notes),
    )


@dataclass(slots=True)
class _Look:
    """What the directory says before any byte is read. trusted: path -> what is remembered of it."""

    missing: list[str] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    pending: list[_Pending] = field(default_factory=list)
    trusted: dict[str, str] = field(default_factory=dict)
    bytes: int = 0


def _look(directory: Path, manifest: FileManifest, remembered: StatCache | None) -> _Look:
    """remembered: what may be trusted, None for nothing."""
    look = _Look()
    base = str(directory)
    for number, file in enumerate(manifest.files):
        try:
            status = os.stat(f"{base}/{file.path}")  # noqa: PTH116 - a Path costs more than the call
        except (FileNotFoundError, NotADirectoryError):
            look.missing.append(file.path)
            continue
        except OSError as error:
            look.changed.append(_changed(file, str(error)))
            continue
        if not stat.S_ISREG(status.st_mode):
            look.changed.append(_changed(file, "no regular file"))
            continue
        look.bytes += status.st_size
        if remembered is not None and not remembered.sampled(number):
            now = f"{stamp(status)} {file.blake3}"
            if remembered.known.get(file.path) == now and status.st_size == file.bytes:
                look.trusted[file.path] = now
                continue
        look.pending.append((file, status))
    return look


def _rounds(pending: Sequence[_Pending]) -> Iterator[list[_Pending]]:
    """Files in order, `ROUND_BYTES` at a time."""
    some: list[_Pending] = []
    size = 0
    for file, status in pending:
        some.append((file, status))
        size += status.st_size
        if size >= ROUND_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


@dataclass(slots=True)
class _Proof:
    """What was read so far. proved: path -> what is to be remembered of it. files, bytes: done in earlier rounds."""

    changed: list[Changed]
    proved: dict[str, str]
    files: int = 0
    bytes: int = 0

    def read(self, base: str, some: list[_Pending], workers: int | None, progress: Progress | None) -> None:
        def report(files: int, size: int) -> None:
            if progress is not None:
                progress(self.files + files, self.bytes + size)

        read_ns = time.time_ns()
        sizes = [(file.path, status.st_size) for file, status in some]
        digests = hash_files(base, sizes, workers=workers, progress=report)
        for (file, status), digest in zip(some, digests, strict=True):
            if digest != file.blake3 or status.st_size != file.bytes:
                found = str(digest) if isinstance(digest, OSError) else f"blake3 {digest} ({status.st_size} bytes)"
                self.changed.append(_changed(file, found))
            elif not is_racy(status, read_ns):
                self.proved[file.path] = f"{stamp(status)} {digest}"
        self.files += len(some)
        self.bytes += sum(size for _, size in sizes)

    def so_far(self, earlier: StatCache) -> dict[str, str]:
        """What is known in the middle: what was proved now, and before of files that were not found changed."""
        changed = {found.path for found in self.changed}
        return {path: mark for path, mark in earlier.known.items() if path not in changed} | self.proved


def _changed(file: FileDigest, found: str) -> Changed:
    return Changed(file.path, expected=f"blake3 {file.blake3} ({file.bytes} bytes)", found=found)


def _blind(trusted: int) -> str:
    return (
        f"{trusted:,} files were trusted by size, times and inode, not read: bytes that went bad on the device, or "
        f"changed under a clock that was set back, show in a full verification, or here within {SAMPLE} fast ones"
    )


def _extra(directory: Path, manifest: FileManifest, ignore: Ignore | None) -> Iterator[str]:
    """What lies in the directory and is not in the record, which itself does not count."""
    if directory.is_dir():
        known = {file.path for file in manifest.files} | {NAME}
        yield from (path for path, _ in walk(directory, ignore) if path not in known)

"""Copying files of one root to another with rsync: several at a time, proved before they get their name.

rsync writes into an incoming folder on the target's file system, with `--append-verify`: of a file that was cut by
SIGKILL only the rest is sent, where `--partial` would send all of it again. A file counts once its blake3 is that of
the source; then it is renamed. A killed sync may leave an rsync that still writes its last file: the same bytes to the
same places, so that two do not disturb each other. Source: hpc spec section 6 (measured), reliability F1, F9.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.files.manifest import FileDigest
from trackyard.acquire.files.tree import digest_files
from trackyard.acquire.staging.journal import Journal
from trackyard.acquire.staging.work import Watch, in_streams
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file, sweep, write_atomic
from trackyard.errors import DataError, TrackyardError
from trackyard.runner import Runner

BATCH_BYTES, BATCH_FILES = 2_000_000_000, 2_000
"""Proved and renamed together, whichever is reached first: what a stop waits for, and a kill may repeat."""
SLOWEST = 1_000_000
"""Bytes per second below which a copy counts as hung; a small file counts as `FILE_S` seconds."""
FILE_S = 1.0
SHORTEST_S = 600.0
INCOMING = f"{TEMPORARY}incoming"
STOPPED = 20
"""Exit code of an rsync that got a signal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A file to copy. path: in the record; relative: below `source` and below `target`."""

    path: str
    source: Path
    target: Path
    relative: str
    bytes: int

    @property
    def dest(self) -> Path:
        return self.target / self.relative


@dataclass(slots=True)
class Copier:
    """Copies the files of one entry. incoming: folders below `TEMPORARY` names at each target root."""

    name: str
    runner: Runner
    watch: Watch
    journal: Journal
    copied_files: int = 0
    copied_bytes: int = 0

    def run(self, copies: Sequence[Copy]) -> None:
        """Copy what is not there; afterwards the journal has the digest of every file.

        Raises DataError naming files that cannot be read or do not arrive, StoppedEarly between batches,
        EnvironmentLacking without rsync.
        """
        roots = list(dict.fromkeys(copy.target for copy in copies))
        for root in roots:
            sweep(root / INCOMING)  # lists of names; what is partly copied lies there under its own name
        total = sum(copy.bytes for copy in copies)
        open_copies = [copy for copy in copies if not self._is_done(copy)]
        done = total - sum(copy.bytes for copy in open_copies)
        self.watch.tell(self.name, done, total)
        for batch in batches(open_copies):
            self.watch.check()
            self._batch(batch)
            done += sum(copy.bytes for copy in batch)
            self.watch.tell(self.name, done, total)
        for root in roots:
            _remove_empty(root / INCOMING)

    def _is_done(self, copy: Copy) -> bool:
        known = self.journal.done.get(copy.path)
        return known is not None and copy.dest.is_file() and copy.dest.stat().st_size == known.bytes

    def _batch(self, batch: Sequence[Copy]) -> None:
        source = {copy.path: digest for copy, digest in self._digests(batch, batch[0].source)}
        there = [copy for copy in batch if copy.dest.is_file() and copy.dest.stat().st_size == source[copy.path].bytes]
        right = {copy.path for copy, digest in self._digests(there, batch[0].target) if digest == source[copy.path]}
        rest = [copy for copy in batch if copy.path not in right]
        for _ in range(2):  # a part that was left behind may be wrong: then once more from the start
            if not rest:
                break
            self._send(rest, source)
            rest = self._settle(rest, source)
        if rest:
            raise DataError(
                what=f"{len(rest)} files did not arrive as they are at the source, such as {rest[0].dest}",
                why="the source changed while it was read, or the target loses bytes",
                fix="run the same command again; if it repeats, check the file system of the target",
            )
        self.journal.add(source[copy.path] for copy in batch)

    def _digests(self, copies: Sequence[Copy], root: Path) -> Iterator[tuple[Copy, FileDigest]]:
        """Digest of each copy's file below `root`, under the path of the record."""
        found = digest_files(
            root, [copy.relative for copy in copies], workers=self.watch.streams, progress=lambda *_: self.watch.check()
        )
        for copy, digest in zip(copies, found, strict=True):
            yield copy, FileDigest(copy.path, digest.bytes, digest.blake3)

    def _send(self, copies: Sequence[Copy], source: dict[str, FileDigest]) -> None:
        base, incoming = copies[0].source, copies[0].target / INCOMING
        incoming.mkdir(parents=True, exist_ok=True)
        for copy in copies:
            part = incoming / copy.relative
            # --append-verify leaves a longer file alone. One that is as long is proved below, like all.
            if part.is_file() and part.stat().st_size > source[copy.path].bytes:
                part.unlink()
        lists = _dealt(copies, self.watch.streams)
        for _ in in_streams(self.watch, lambda pair: self._rsync(base, incoming, *pair), list(enumerate(lists))):
            pass

    def _rsync(self, base: Path, incoming: Path, number: int, copies: Sequence[Copy]) -> None:
        names = incoming / f"{TEMPORARY}list-{number}"
        write_atomic(names, b"".join(os.fsencode(copy.relative) + b"\0" for copy in copies))
        size = sum(copy.bytes for copy in copies)
        finished = self.runner.run(
            [
                "rsync", "--files-from", str(names), "--from0", "--append-verify", "--copy-links", "--times",
                "--omit-dir-times", "--", f"{base}/", f"{incoming}/",
            ],
            timeout_s=max(SHORTEST_S, size / SLOWEST + len(copies) * FILE_S),
        )  # fmt: skip
        if finished.exit_code == STOPPED:
            self.watch.check()
        if finished.exit_code:
            raise TrackyardError(
                what=f"rsync ended with exit code {finished.exit_code}: {finished.stderr.strip()[-500:]}",
                why=f"{len(copies)} files below {base} were to be copied by it",
                fix="correct what it says and run the same command again: what arrived stays",
            )
        names.unlink()

    def _settle(self, copies: Sequence[Copy], source: dict[str, FileDigest]) -> list[Copy]:
        """Give arrived files their names; returns those that did not arrive right, whose parts are removed."""
        incoming = copies[0].target / INCOMING
        wrong = []
        for copy, digest in self._digests(copies, incoming):
            if digest != source[copy.path]:
                (incoming / copy.relative).unlink()
                wrong.append(copy)
        right = [copy for copy in copies if copy not in set(wrong)]
        for _ in in_streams(self.watch, lambda copy: fsync_file(incoming / copy.relative), right):
            pass
        for copy in right:
            copy.dest.parent.mkdir(parents=True, exist_ok=True)
            os.replace(incoming / copy.relative, copy.dest)
            self.copied_files += 1
            self.copied_bytes += copy.bytes
        for folder in {copy.dest.parent for copy in right}:
            fsync_directory(folder)
        return wrong


def batches(copies: Iterable[Copy]) -> Iterator[list[Copy]]:
    """Copies by pair of roots, the largest first, in batches."""
    groups: dict[tuple[Path, Path], list[Copy]] = {}
    for copy in copies:
        groups.setdefault((copy.source, copy.target), []).append(copy)
    for group in groups.values():
        batch: list[Copy] = []
        size = 0
        for copy in sorted(group, key=lambda copy: (-copy.bytes, copy.relative)):
            if batch and (size + copy.bytes > BATCH_BYTES or len(batch) >= BATCH_FILES):
                yield batch
                batch, size = [], 0
            batch.append(copy)
            size += copy.bytes
        if batch:
            yield batch


def _dealt(copies: Sequence[Copy], streams: int) -> list[list[Copy]]:
    """Lists of about equal bytes, each the largest first."""
    lists: list[list[Copy]] = [[] for _ in range(min(streams, len(copies)))]
    sizes = [0] * len(lists)
    for copy in sorted(copies, key=lambda copy: (-copy.bytes, copy.relative)):
        least = sizes.index(min(sizes))
        lists[least].append(copy)
        sizes[least] += copy.bytes
    return lists


def _remove_empty(folder: Path) -> None:
    """Remove what is left of the incoming folder: empty folders, once all files have their names."""
    for path, _, _ in os.walk(folder, topdown=False):
        if not os.listdir(path):
            os.rmdir(path)  # noqa: PTH106

"""A shard that rows are read from: file and map in memory, every row checked when a process first reads it.

What is checked when. The whole file against the manifest's blake3, when its map is made: once per machine and cache.
The bytes of a row, texts and media, against the digest in the map, when a process first reads it after opening the
file; not again if the system drops their pages and reads them from the disk once more. Bytes that no row is made of any
more (footer, page headers, the packed texts, once a map is there) are not read, so they cannot change a result;
`trackyard data verify` finds damage there. Where a row and its digest disagree, the file is proved again in full: a
damaged file stops the reader with a DataError, a damaged map is replaced.
"""

from __future__ import annotations

import json
import mmap
import threading
import weakref
from collections import deque
from functools import lru_cache
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from trackyard.durable import write_atomic
from trackyard.errors import EnvironmentLacking
from trackyard.row import Row
from trackyard.snapshot.columns import record_to_row
from trackyard.snapshot.manifest import FileEntry
from trackyard.snapshot.shard_map import (
    COUNTS,
    ENTRY,
    HEAD,
    MAGIC,
    STRIDE,
    build_map,
    damaged,
    map_file,
    maps_directory,
    row_digest,
)

OPEN_SHARDS = 256
"""Shards that a process keeps open, over all datasets. Each takes two file descriptors of the 1,024 that are usual."""


class Record(NamedTuple):
    """A row as it is stored. media: encoded bytes where they lie in the file; a view keeps the file open.

    meta: JSON. contents: texts of all turns, conversation after conversation. shape: JSON of what else is known of the
    media, and of the role of every turn per conversation.
    """

    id: str
    task: str
    meta: str
    shape: str
    contents: list[str]
    media: list[memoryview]

    def row(self) -> Row:
        """The row, with copies of its media. DataError for a value outside the schema's meaning."""
        facts, roles = json.loads(self.shape)
        contents = iter(self.contents)
        conversations = [[{"role": role, "content": next(contents)} for role in turns] for turns in roles]
        media = [fact | {"bytes": bytes(view)} for fact, view in zip(facts, self.media, strict=True)]
        return record_to_row(
            {"id": self.id, "task": self.task, "media": media, "conversations": conversations, "meta": self.meta}
        )


class Shard:
    """One file of a dataset, opened when a row is asked for. Safe for several threads."""

    def __init__(self, path: Path, entry: FileEntry, restore: str) -> None:
        self.path, self._entry, self._restore = path, entry, restore
        self._place = maps_directory() / f"{entry.blake3}.map"
        self._lock = threading.Lock()  # so that threads do not all make the same map
        self._opened: _Open | None = None

    def record(self, number: int) -> Record:
        """Row `number` of this file, checked. DataError if the file is not the one that the manifest names."""
        opened = self._opened or self._open()
        found = opened.record(number)
        return self._settle(opened, number) if found is None else found

    def close(self) -> None:
        """Let go of the file; the next row opens it again. Views of media that are in use stay valid."""
        self._opened = None

    def _open(self) -> _Open:
        with self._lock:
            opened = self._opened
            if opened is None:
                self._opened = opened = _Open(self._file(), self._kept_map() or self._new_map())
                _recent.append(weakref.ref(self))
                if len(_recent) > OPEN_SHARDS:
                    oldest = _recent.popleft()()
                    if oldest is not None:
                        oldest.close()
            return opened  # not self._opened: another thread may close it at any time

    def _settle(self, opened: _Open, number: int) -> Record:
        """File and map disagree about a row: prove the file in full, which raises if it is damaged, and map it anew."""
        with self._lock:
            if self._opened is opened:
                self._opened = None
                self._opened = _Open(self._file(), self._new_map())
        found = (self._opened or self._open()).record(number)
        if found is None:
            raise damaged(self.path, f"row {number} changes while it is read", self._restore)
        return found

    def _file(self) -> mmap.mmap:
        try:
            return map_file(self.path, self._entry.bytes)
        except OSError as error:
            raise damaged(self.path, str(error), self._restore) from error

    def _kept_map(self) -> mmap.mmap | None:
        """The map that was made before, if it is whole; its records are checked row by row."""
        try:
            held = map_file(self._place)
        except (OSError, ValueError):
            return None
        rows = self._entry.rows
        whole = len(held) >= HEAD.size + STRIDE * rows + 8 and HEAD.unpack_from(held) == (MAGIC, rows)
        return held if whole else None

    def _new_map(self) -> mmap.mmap:
        content = build_map(self.path, self._entry, self._restore)
        try:
            write_atomic(self._place, content)
            return map_file(self._place)
        except OSError as error:
            raise EnvironmentLacking(
                what=f"the map of {self.path} cannot be kept in {self._place.parent}: {error}",
                why="without it every process would read all shards in full before it gives a row",
                fix=f"make {self._place.parent} writable, or name another place: export XDG_CACHE_HOME=DIRECTORY; in "
                "an image the variable decides that `local_disk_variable` of the site names, else TMPDIR",
            ) from error


_recent: deque[weakref.ref[Shard]] = deque()
"""Open shards of this process, the first opened first. Appending and popping are atomic."""


class _Open:
    """The bytes of a file and of its map. Several threads may read: all they change is what is proved."""

    def __init__(self, file: mmap.mmap, held: mmap.mmap) -> None:
        self._file, self._map = memoryview(file), memoryview(held)
        self._proved = bytearray(HEAD.unpack_from(held)[1])

    def record(self, number: int) -> Record | None:
        """Row `number` of the shard, or None where file and map disagree: one of them is damaged."""
        start, digest, end = ENTRY.unpack_from(self._map, HEAD.size + STRIDE * number)
        held = self._map[start:end]
        try:
            images, texts = COUNTS.unpack_from(held)
            layout = _layout(images, texts)
            values = layout.unpack_from(held, COUNTS.size)
        except StructError:
            return None
        media = []
        for at in range(0, 2 * images, 2):
            begin = values[at]
            media.append(self._file[begin : begin + values[at + 1]])
        if not self._proved[number]:
            if row_digest(number, held, media) != digest:
                return None
            self._proved[number] = 1
        joined = str(held[COUNTS.size + layout.size :], "utf-8")
        parts, begin = [], 0
        for end in values[2 * images :]:
            parts.append(joined[begin:end])
            begin = end
        return Record(parts[0], parts[1], parts[2], parts[3], parts[4:], media)


@lru_cache(maxsize=1024)
def _layout(media: int, texts: int) -> Struct:
    return Struct(f"<{2 * media}Q{texts}I")

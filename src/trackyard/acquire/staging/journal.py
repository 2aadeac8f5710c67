"""What is finished of an entry while it is being staged: a line for each file, appended after it is safe on disk.

A process that is killed leaves at most a torn last line, which is cut off. Source: reliability spec F1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from trackyard.acquire.files.manifest import FileDigest
from trackyard.durable import TEMPORARY, fsync_directory

NAME = f"{TEMPORARY}journal.jsonl"
"""An unfinished thing by name: no proof counts it, and no record lists it."""


class Journal:
    """Finished files of one entry. identity: of the source; lines of another one count for nothing. recorded: files
    that its record lists from an earlier time."""

    def __init__(self, folder: Path, identity: str, *, recorded: Iterable[FileDigest] = ()) -> None:
        self._path, self._identity = folder / NAME, identity
        self.done = {file.path: file for file in recorded}
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.is_file():
            self._read()

    def _read(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._path, whole)
        for line in data[:whole].splitlines():
            item = json.loads(line)
            if item["of"] == self._identity:
                self.done[item["path"]] = FileDigest(item["path"], item["bytes"], item["blake3"])

    def add(self, files: Iterable[FileDigest]) -> None:
        """Note files whose bytes and names are on disk already."""
        new = list(files)
        lines = "".join(
            json.dumps({"path": file.path, "bytes": file.bytes, "blake3": file.blake3, "of": self._identity}) + "\n"
            for file in new
        )
        first = not self._path.exists()
        with open(self._path, "ab") as handle:
            handle.write(lines.encode())
            handle.flush()
            os.fsync(handle.fileno())
        if first:
            fsync_directory(self._path.parent)
        self.done |= {file.path: file for file in new}

    def remove(self) -> None:
        """Forget it: the record says everything now."""
        self._path.unlink(missing_ok=True)

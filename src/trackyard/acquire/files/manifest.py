"""The record of plain files: `files.json`, written last, so that a directory without one is not complete.

Source: design section 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.errors import DataError
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-files/1"
NAME = "files.json"
AGAIN = "bring the files again with `trackyard data fetch NAME`, NAME being their catalogue entry"

_PATH = re.compile(r"(?:(?!\.\.?/)[^/\0]+/)*(?!\.\.?\Z)[^/\0]+")
_BLAKE3 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileDigest:
    """path: relative, with forward slashes. blake3: 64 hex characters."""

    path: str
    bytes: int
    blake3: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileManifest:
    """source: where the files come from: a hub id and revision, a URL, a path that was imported."""

    name: str
    source: Mapping[str, Any]
    files: tuple[FileDigest, ...]

    def write(self, directory: Path) -> None:
        """Write files.json into `directory`: the last file of it. DataError if what it says cannot be relied on."""
        self._check(directory / NAME)
        files = [{"path": file.path, "bytes": file.bytes, "blake3": file.blake3} for file in self.files]
        write_document(directory / NAME, SCHEMA, {"name": self.name, "source": dict(self.source), "files": files})

    @classmethod
    def read(cls, directory: Path) -> FileManifest:
        """Read files.json. DataError if it is absent or damaged, or if a path leaves the directory or repeats."""
        path = directory / NAME
        body = read_document(path, SCHEMA, fix=AGAIN)
        try:
            files = tuple(FileDigest(item["path"], item["bytes"], item["blake3"]) for item in body["files"])
            manifest = cls(name=body["name"], source=body["source"], files=files)
            manifest._check(path)
        except (KeyError, TypeError) as error:
            raise _untrusted(path, f"a key is missing or has another type: {error!r}") from error
        return manifest

    def _check(self, path: Path) -> None:
        problem = next(self._problems(), None)
        if problem:
            raise _untrusted(path, problem)

    def _problems(self) -> Iterator[str]:
        for key, value, kind in (("name", self.name, str), ("source", self.source, Mapping)):
            if not isinstance(value, kind):
                yield f"{key} is {value!r}"
        is_path, is_blake3 = _PATH.fullmatch, _BLAKE3.fullmatch  # a record may name 100,000 files
        for file in self.files:
            if not is_path(file.path) or file.path == NAME:
                yield f"path {file.path!r} is not that of a file in the directory"
            elif type(file.bytes) is not int or file.bytes < 0 or not is_blake3(file.blake3):
                yield f"{file.path!r} has {file.bytes!r} bytes and blake3 {file.blake3!r}"
        if len({file.path for file in self.files}) != len(self.files):
            yield "a path is listed twice"


def _untrusted(path: Path, problem: str) -> DataError:
    return DataError(what=f"{path}: {problem}", why="such a record proves nothing", fix=AGAIN)

"""The manifest: what a dataset of a snapshot is, and the digest of each of its files. Source: design section 4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-manifest/1"
NAME = "manifest.json"
RESTORE = "git checkout -- data.dvc && dvc checkout --force data.dvc"
"""Brings back the bytes of the versioned snapshot, also where DVC has taken a damaged file for a new version."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One shard. path: relative to the dataset's directory, its first part is the split; blake3: 64 hex characters."""

    path: str
    bytes: int
    rows: int
    blake3: str

    @property
    def split(self) -> str:
        return self.path.split("/")[0]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """source: hub id and revision, generator, or import path. exclusions: rows left out, by reason."""

    dataset: str
    source: Mapping[str, Any]
    licence: str
    splits: Mapping[str, int]
    files: tuple[FileEntry, ...]
    exclusions: Mapping[str, int]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the whole content: identifies the bytes and what is said about them."""
        return digest_json(asdict(self))

    def write(self, directory: Path) -> None:
        """Write manifest.json into `directory`: the last file of a dataset."""
        write_document(directory / NAME, SCHEMA, asdict(self))

    @classmethod
    def read(cls, directory: Path, *, restore: str = RESTORE) -> Manifest:
        """Read the manifest of a dataset; DataError if there is none: such a directory is no part of a snapshot."""
        path = directory / NAME
        if not path.is_file():
            raise without_manifest(directory, restore)
        body = read_document(path, SCHEMA, fix=restore)
        try:
            manifest = _ADAPTER.validate_python(body)
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                what=f"{path} lacks or misstates {'.'.join(map(str, first['loc']))}: {first['msg']}",
                why="nothing in the directory can be proved without it",
                fix=restore,
            ) from error
        problem = manifest.inconsistency()
        if problem:
            raise DataError(
                what=f"{path}: {problem}", why="a manifest that contradicts itself proves nothing", fix=restore
            )
        return manifest

    def inconsistency(self) -> str | None:
        """What contradicts itself: a path that leaves the directory or is named twice, rows that do not add up."""
        rows: Counter[str] = Counter()
        for entry in self.files:
            pure = PurePosixPath(entry.path)
            if pure.is_absolute() or ".." in pure.parts or len(pure.parts) < 2:
                return f"file {entry.path!r} does not lie in the folder of a split"
            rows[entry.split] += entry.rows
        if len({entry.path for entry in self.files}) != len(self.files):
            return "a file is listed twice"
        if dict(rows) != dict(self.splits):
            return f"splits are {dict(self.splits)}, the files add up to {dict(rows)}"
        return None


def without_manifest(directory: Path, restore: str) -> DataError:
    """The error for a directory that was never completed, or has lost its manifest."""
    return DataError(
        what=f"{directory} is not a dataset of a snapshot: it has no {NAME}",
        why="the manifest is written last, so a directory without one is incomplete",
        fix=restore,
    )


_ADAPTER = TypeAdapter(Manifest)

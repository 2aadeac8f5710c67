"""Records of what was staged: a `files.json` for each entry, written last, in one of two forms.

embed: `<molmo>/staged/<entry>/` holds the shards and their record. rewrite: the files lie where they lay at the source,
below the target's roots, and `<molmo>/relocated/<entry>/` holds the record, whose paths begin with the root's name.
Source: nine-datasets spec section 3, hpc spec section 6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from trackyard.acquire.files.manifest import NAME, FileDigest, FileManifest
from trackyard.acquire.staging.roots import MAPPED, Roots

Relocate = Literal["embed", "rewrite"]


def record_folder(target: Roots, name: str, relocate: Relocate) -> Path:
    """Where the record of an entry lies."""
    return (target.staged if relocate == "embed" else target.relocated) / name


def is_recorded(target: Roots, name: str) -> bool:
    """Whether a record says that the entry was staged, in either form. It does not say that its files are there."""
    return any((folder / name / NAME).is_file() for folder in (target.staged, target.relocated))


def read_record(target: Roots, name: str, relocate: Relocate) -> FileManifest | None:
    """The record of an entry, None where there is none; DataError if it is damaged."""
    folder = record_folder(target, name, relocate)
    return FileManifest.read(folder) if (folder / NAME).is_file() else None


def place_of(target: Roots, path: str) -> tuple[str, str]:
    """(root, path below it) of a path in a relocated record."""
    parts = path.split("/")
    depth = 2 if parts[0] == MAPPED else 1
    return "/".join(parts[:depth]), "/".join(parts[depth:])


def by_root(target: Roots, manifest: FileManifest) -> dict[Path, FileManifest]:
    """A relocated record as one record for each root, with paths below it."""
    files: dict[str, list[FileDigest]] = {}
    for file in manifest.files:
        root, relative = place_of(target, file.path)
        files.setdefault(root, []).append(FileDigest(relative, file.bytes, file.blake3))
    return {
        target.path(root): FileManifest(name=manifest.name, source=manifest.source, files=tuple(digests))
        for root, digests in files.items()
    }


def absent_files(folder: Path, files: tuple[FileDigest, ...]) -> list[FileDigest]:
    """Files of a record that are not there in their recorded size. Bytes are not read: that is what `verify` does."""
    absent = []
    for file in files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.bytes:
            absent.append(file)
    return absent


def recorded_tables(manifest: FileManifest) -> list[dict[str, Any]]:
    """What a record says of its splits: name, identity, counts, and the rows of each shard."""
    tables: list[dict[str, Any]] = manifest.source["tables"]
    return tables

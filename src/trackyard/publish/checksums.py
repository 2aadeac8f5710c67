"""checksums.json of an exported folder: every file with its bytes and two digests.

blake3 is what the rest of the record uses; sha256 is what hubs name large files by, and what everybody can check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3

from trackyard.errors import DataError
from trackyard.publish.search import BLOCK
from trackyard.sealed import read_sealed, write_sealed

SCHEMA = "trackyard-checksums/1"
CHECKSUMS = "checksums.json"
AFTERWARDS = (CHECKSUMS, "lineage.json")
"""Written after the others: lineage.json states the digest of this file."""

Sums = tuple[int, str, str]
"""Bytes, blake3, sha256."""


def write_checksums(folder: Path) -> None:
    """Read every file of `folder` and write checksums.json beside them."""
    files = {
        path.relative_to(folder).as_posix(): _sums(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in AFTERWARDS
    }
    body = {name: {"bytes": size, "blake3": one, "sha256": other} for name, (size, one, other) in files.items()}
    write_sealed(folder / CHECKSUMS, SCHEMA, {"files": body})


def require_unchanged(folder: Path, found: Mapping[str, Sums]) -> None:
    """DataError unless the files of `folder` are those that were exported. found: what was just read of them."""
    fix = "export it again into a new folder: trackyard publish export TRACK/NAME OUT"
    stated = read_sealed(folder / CHECKSUMS, SCHEMA, fix=fix)["files"]
    listed = {name: (file["bytes"], file["blake3"], file["sha256"]) for name, file in stated.items()}
    actual = {name: sums for name, sums in found.items() if name not in AFTERWARDS}
    wrong = [f"{name} is missing" for name in sorted(listed.keys() - actual.keys())]
    wrong += [f"{name} was added" for name in sorted(actual.keys() - listed.keys())]
    wrong += [f"{name} was changed" for name in sorted(listed.keys() & actual.keys()) if listed[name] != actual[name]]
    if wrong:
        raise DataError(
            what=f"{folder}: {'; '.join(wrong[:8])}",
            why="it is not what was exported, and its lineage and card would speak of something else",
            fix=fix,
        )


def _sums(path: Path) -> Sums:
    one, other, size = blake3(), hashlib.sha256(), 0
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            one.update(block)
            other.update(block)
            size += len(block)
    return size, one.hexdigest(), other.hexdigest()

"""What of a run's files MLflow gets: small ones as they are, of larger ones a reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trackyard.digest import digest_file
from trackyard.record.tracking.synced import Reference

LARGEST_ARTIFACT = 8 << 20
"""Bytes. Larger files belong to DVC; MLflow gets their names, sizes and digests."""


def listed(directory: Path, names: Sequence[str]) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
    """Of the files `names` of a run directory: the small ones, the large ones, and those that are nothing to show."""
    base = directory.resolve()
    small: dict[str, Path] = {}
    large: dict[str, Path] = {}
    skipped = []
    for name in names:
        path = (base / name).resolve()
        # Links out of the run directory are not followed: they would show any file to everyone who reads MLflow.
        if not (path.is_relative_to(base) and path.is_file()):
            skipped.append(name)
        else:
            kind = large if path.stat().st_size > LARGEST_ARTIFACT else small
            kind[path.relative_to(base).as_posix()] = path
    return small, large, skipped


def changed_artifacts(small: Mapping[str, Path], known: Mapping[str, str]) -> Iterator[tuple[str, Path, str]]:
    """Those whose blake3 is not the known one: name, path, blake3."""
    for name, path in small.items():
        digest = digest_file(path)
        if digest != known.get(name):
            yield name, path, digest


def referenced(large: Mapping[str, Path], known: Mapping[str, Reference]) -> dict[str, Reference]:
    """References to all of `large`. One that has neither grown nor changed since is not hashed again."""
    found = {}
    for name, path in sorted(large.items()):
        look = path.stat()
        reference = known.get(name)
        if reference is None or (reference.bytes, reference.modified_ns) != (look.st_size, look.st_mtime_ns):
            reference = Reference(bytes=look.st_size, blake3=digest_file(path), modified_ns=look.st_mtime_ns)
        found[name] = reference
    return found

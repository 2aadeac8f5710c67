"""Plain files: what lies in a directory, and the proof that it still does.

For everything that is no snapshot: raw downloads, archives, copies by hand, relocated sets; and, through their own
manifests, for the files of snapshots. Source: reliability spec F6, F8, F9 and F27, performance spec section 9.4.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.acquire.files.hashing import Progress, hash_files
from trackyard.acquire.files.manifest import NAME, FileDigest, FileManifest
from trackyard.acquire.files.proof import Changed, FilesReport, Mode, verify_files
from trackyard.acquire.files.walk import Ignore, walk
from trackyard.errors import DataError

__all__ = [
    "Changed",
    "FileDigest",
    "FileManifest",
    "FilesReport",
    "Mode",
    "digest_files",
    "manifest_of",
    "verify_files",
]


def digest_files(
    root: Path, paths: Sequence[str], *, workers: int | None = None, progress: Progress | None = None
) -> list[FileDigest]:
    """Size and blake3 of files below `root`, in the order of `paths`. DataError names the first that cannot be read."""
    base = str(root)
    try:
        sizes = [os.stat(f"{base}/{path}").st_size for path in paths]  # noqa: PTH116 - a Path costs more than the call
    except OSError as error:
        raise _unreadable(error) from error
    found = hash_files(base, list(zip(paths, sizes, strict=True)), workers=workers, progress=progress)
    digests = []
    for path, size, digest in zip(paths, sizes, found, strict=True):
        if isinstance(digest, OSError):
            raise _unreadable(digest) from digest
        digests.append(FileDigest(path, size, digest))
    return digests


def _unreadable(error: OSError) -> DataError:
    return DataError(
        what=str(error),
        why="a file that cannot be read cannot be recorded",
        fix="bring it back or leave it out, and run the same command again",
    )


def manifest_of(
    root: Path,
    *,
    name: str,
    source: Mapping[str, Any],
    workers: int | None = None,
    progress: Progress | None = None,
    ignore: Ignore | None = None,
) -> FileManifest:
    """Record every file below `root` but files.json itself and unfinished ones.

    A link to a file inside counts as that file. DataError for a link that leads out or to a folder, for anything that
    is neither file nor folder, for a name that is not UTF-8, and where there is no file.
    """
    inside = f"{os.path.realpath(root)}/"
    paths, problems = [], []
    for path, kind in walk(root, ignore):
        problem = _problem(f"{root}/{path}", kind, inside)
        if problem:
            problems.append(f"{root}/{path!a}: {problem}")
        elif path != NAME:
            paths.append(path)
    if problems or not paths:
        raise DataError(
            what="\n      ".join(problems) or f"{root} holds no file",
            why="a record of it would not say what a reader of the directory gets",
            fix="put the files themselves there, under names in UTF-8, and run the same command again",
        )
    files = digest_files(root, sorted(paths), workers=workers, progress=progress)
    return FileManifest(name=name, source=dict(source), files=tuple(files))


def _problem(path: str, kind: str, inside: str) -> str | None:
    """Why this cannot be recorded. inside: the real path of the directory, with a slash."""
    if kind == "other":
        return "neither file nor folder"
    if kind == "link":
        target = os.path.realpath(path)
        if not target.startswith(inside) or not Path(target).is_file():
            return f"a link to {target}, which is no file in the directory"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return None

"""A folder as DVC sees it: the md5 of each file by its path, and the digest that follows from the list.

DVC writes the digest of a folder into dvc.lock, and the list itself into its cache; so the list can be proved against
the digest, and then names the one file that is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

DIRECTORY = ".dir"
"""The ending of a digest that is of a folder."""


def is_directory(digest: str) -> bool:
    """True for the digest of a folder, False for that of a file."""
    return digest.endswith(DIRECTORY)


def directory_md5(listing: Mapping[str, str]) -> str:
    """The digest of a folder from the md5 of its files, as DVC 3 has it: md5 of the JSON list, sorted by path.

    listing: path relative to the folder, with forward slashes -> md5.
    """
    items = [{"md5": listing[path], "relpath": path} for path in sorted(listing)]
    return hashlib.md5(json.dumps(items).encode(), usedforsecurity=False).hexdigest() + DIRECTORY


def read_listing(cache: Path, digest: str) -> dict[str, str] | None:
    """The list of a folder from DVC's cache; None where the cache lacks it, or holds one with another digest.

    cache: the folder `files/md5` of the cache. digest: of the folder, ends in `.dir`.
    """
    path = cache / digest[:2] / digest[2:]
    try:
        listing = {item["relpath"]: item["md5"] for item in json.loads(path.read_bytes())}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return listing if directory_md5(listing) == digest else None


def below(listing: Mapping[str, str], folder: str) -> dict[str, str]:
    """The part of a list that lies in `folder`, by path relative to that; `folder` empty: all of it."""
    if not folder:
        return dict(listing)
    return {path.removeprefix(f"{folder}/"): md5 for path, md5 in listing.items() if path.startswith(f"{folder}/")}


def hash_files(paths: Iterable[Path], base: Path) -> dict[str, str]:
    """The list of the files `paths`, relative to `base`, from their bytes.

    What is no file stands in it without a digest: then the list is that of no folder which DVC has hashed.
    """
    return {path.relative_to(base).as_posix(): _md5(path) if path.is_file() else "" for path in paths}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

"""What lies in a directory: files, links and the rest, told apart without following anything out of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from trackyard.durable import TEMPORARY

Ignore = Callable[[str], bool]
"""Told a path below the directory, whether it is left out; a folder's ends in a slash, and all below goes with it."""


class Found(NamedTuple):
    """One thing in a directory. path: below it, with forward slashes."""

    path: str
    kind: Literal["file", "link", "other"]


def walk(root: Path, ignore: Ignore | None = None) -> Iterator[Found]:
    """Everything below `root` except folders themselves and what is unfinished (`durable.TEMPORARY`)."""
    base = str(root)
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(f"{base}/{folder}") as entries:
            for entry in entries:
                path = folder + entry.name
                if entry.name.startswith(TEMPORARY):
                    continue
                is_file = entry.is_file(follow_symlinks=False)
                is_folder = not is_file and entry.is_dir(follow_symlinks=False)
                if ignore is not None and ignore(f"{path}/" if is_folder else path):
                    continue
                if is_file:
                    yield Found(path, "file")
                elif is_folder:
                    folders.append(f"{path}/")
                else:
                    yield Found(path, "link" if entry.is_symlink() else "other")

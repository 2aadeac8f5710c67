"""A folder of plain files, copied whole or not at all. Source: reliability spec F18 and section 6."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trackyard.acquire.archives.members import Members, RefusedName
from trackyard.acquire.archives.unpack import UnpackLimits
from trackyard.durable import atomic_directory
from trackyard.errors import DataError


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder of regular files as the new folder `target`. DataError for links, devices and unusable names."""
    members = Members(max_entries=UnpackLimits().max_entries)
    with atomic_directory(target) as fresh:
        for folder, folders, files in os.walk(source):
            for name in [*files, *(name for name in folders if (Path(folder) / name).is_symlink())]:
                path = Path(folder) / name
                try:
                    below = members.claim(path.relative_to(source).as_posix(), folder=False)
                    problem = "" if path.is_file() and not path.is_symlink() else "it is no regular file"
                except RefusedName as error:
                    problem = str(error)
                if problem:
                    raise DataError(
                        what=f"{path}: {problem}",
                        why="only regular files can be copied, recorded and moved to other file systems",
                        fix="replace links by what they lead to (`cp -rL`), remove what does not belong there, and run "
                        "the same command again",
                    )
                (fresh / below).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, fresh / below)

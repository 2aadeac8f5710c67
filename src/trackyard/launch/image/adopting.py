"""`trackyard image lock --from`: an image that was built elsewhere is taken over, if it proves what it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trackyard.durable import TEMPORARY, fsync_directory, fsync_file
from trackyard.errors import ConfigError, DataError
from trackyard.launch.image.arguments import sha256_of
from trackyard.launch.image.describing import (
    LOCK_LABEL,
    definition_at,
    describe,
    file_name,
    labels_of,
    require_labels,
    require_tested,
)
from trackyard.launch.image.finding import file_sha256, image_folder
from trackyard.launch.image.lock_file import Locked, locking, relock
from trackyard.launch.image.verifying import PACKAGE_LOCK
from trackyard.launch.sites import Site
from trackyard.runner import Runner


def adopt(root: Path, name: str, source: Path, runner: Runner, *, site: Site | None) -> Locked:
    """Lock `source` as the image `name`, in the image folder of the site, after its own test has passed.

    Its labels must name a commit of this checkout, whose definition is recorded, and the requirements.lock that lies
    here. DataError or TrackyardError says what it lacks; nothing is changed then.
    """
    if not source.is_file():
        raise ConfigError(
            what=f"there is no file {source}",
            why=f"it is to become the image {name}",
            fix=f"trackyard image lock {name} --from <path of the .sif file>",
        )
    labels = labels_of(source, runner)
    require_labels(source, name, labels)
    here = sha256_of((root / PACKAGE_LOCK).read_bytes())
    if labels[LOCK_LABEL] != here:
        raise DataError(
            what=f"{source} was made from a {PACKAGE_LOCK} of sha256 {labels[LOCK_LABEL]}, here it is {here}",
            why="its packages are not those that this checkout pins",
            fix=f"git checkout the commit of the image, or build one of this checkout: trackyard image build {name}",
        )
    definition = definition_at(root, name, labels, runner)
    require_tested(source, runner)
    folder = image_folder(root, site)
    folder.mkdir(parents=True, exist_ok=True)
    def_sha256 = sha256_of(definition)
    there = folder / file_name(root, name, folder, file_sha256(source))
    partial = folder / f"{TEMPORARY}{name}.{os.getpid()}.sif"
    with locking(root):
        if there.is_file() and there.samefile(source):
            locked = describe(root, name, there, runner, def_sha256=def_sha256, build_args={})
        else:
            try:
                shutil.copyfile(source, partial)
                partial.chmod(0o755)
                fsync_file(partial)
                # Before it takes the place of the earlier image: what cannot be described is not locked.
                locked = describe(root, name, partial, runner, def_sha256=def_sha256, build_args={})
                os.replace(partial, folder / locked.file)
            finally:
                partial.unlink(missing_ok=True)
            fsync_directory(folder)
        relock(root, name, locked)
    return locked

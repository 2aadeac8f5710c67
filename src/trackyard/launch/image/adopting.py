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
    labels_of,
    require_labels,
    require_tested,
)
from trackyard.launch.image.finding import image_folder
from trackyard.launch.image.lock_file import Locked, relock
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
    require_labels(source, labels)
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
    target = folder / f"{name}.sif"
    if not (target.is_file() and target.samefile(source)):
        partial = folder / f"{TEMPORARY}{name}.{os.getpid()}.sif"
        try:
            shutil.copyfile(source, partial)
            partial.chmod(0o755)
            fsync_file(partial)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        fsync_directory(folder)
    locked = describe(root, name, target, runner, def_sha256=sha256_of(definition), build_args={})
    relock(root, name, locked)
    return locked

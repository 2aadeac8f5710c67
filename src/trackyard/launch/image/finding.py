"""The file of an image, proved to be the locked bytes. Source: design section 6, pains 11."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from trackyard.acquire.files.stat_cache import StatCache, is_racy, place_of, stamp
from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.launch.image.lock_file import CONTAINERS, IMAGE_LOCK, Locked, locked_image
from trackyard.launch.sites import FOLDER, Site


def image_of(root: Path, site: Site, environment: Mapping[str, str] | None = None) -> tuple[Path, str]:
    """The image that stages of a site run in, and its digest (`sha256:…`).

    ConfigError where the site names none, EnvironmentLacking where it is not locked or its file is not here, DataError
    where the file is other bytes than the lock says.
    """
    if site.image is None:
        raise ConfigError(
            what=f"site {site.name} names no image",
            why="its stages run in this environment",
            fix=f"write `image: cpu` in {FOLDER}/{site.name}.yaml, or leave TRACKYARD_SITE unset",
        )
    return named_image(root, site.image, site, environment)


def named_image(
    root: Path, name: str, site: Site | None, environment: Mapping[str, str] | None = None
) -> tuple[Path, str]:
    """The same for an image by its name. site: where its store is; None: containers/."""
    locked = locked_image(root, name)
    path = image_folder(root, site, environment) / locked.file
    require_locked(path, name, locked)
    return path, locked.digest


def image_folder(root: Path, site: Site | None, environment: Mapping[str, str] | None = None) -> Path:
    """Where image files lie at a site. EnvironmentLacking where the variable that says so is not set."""
    if site is None or site.image_store is None:
        return root / CONTAINERS
    variable = site.image_store.path_variable
    value = (os.environ if environment is None else environment).get(variable)
    if not value:
        raise EnvironmentLacking(
            what=f"{variable} is not set",
            why=f"it names the directory of image files at the site {site.name}",
            fix=f"export {variable}=<a directory that every node sees>",
        )
    return Path(value)


def require_locked(path: Path, name: str, locked: Locked, *, digest_of: Callable[[Path], str] | None = None) -> None:
    """EnvironmentLacking where there is no file, DataError where it is other bytes than `locked`.

    digest_of: how its digest is found; None: `file_sha256`, which trusts what it remembers of a file.
    """
    if not path.is_file():
        raise EnvironmentLacking(
            what=f"the image {name} is not at {path}",
            why=f"{IMAGE_LOCK} has it as {locked.digest}",
            fix=f"copy {locked.file} there, or trackyard image build {name}",
        )
    size, found = path.stat().st_size, None
    if size == locked.sif_bytes:
        found = (digest_of or file_sha256)(path)
        if found == locked.sif_sha256:
            return
    raise DataError(
        what=f"{path} is not the image that {IMAGE_LOCK} has: "
        + (f"{size} bytes, locked {locked.sif_bytes}" if found is None else f"sha256:{found}, locked {locked.digest}"),
        why="the image is part of what identifies a run, and these bytes are nobody's",
        fix=f"bring the locked file back, or lock this one: trackyard image lock {name} --from {path}",
    )


def file_sha256(path: Path) -> str:
    """64 hex digits. A file that was read before and has its size, times and inode still is not read again."""
    place = place_of(path)
    cache = StatCache.read(place)
    before, began = path.stat(), time.time_ns()
    mark = stamp(before)
    known, _, digest = cache.known.get(path.name, "").rpartition(" ")
    if known == mark and len(digest) == 64:
        return digest
    digest = read_sha256(path)
    if stamp(path.stat()) == mark and not is_racy(before, began):
        # Where that cannot be written, the next proof reads the file again.
        cache.remember(place, path, {path.name: f"{mark} {digest}"}, next_turn=False)
    return digest


def read_sha256(path: Path) -> str:
    """64 hex digits, of the bytes as they are read now."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

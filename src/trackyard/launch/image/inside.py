"""How stages run inside: the checkout, its code and its identity, the node's own disk, and nothing else of the host.

An image is the environment; the code is the checkout, bound at run time. Sources: hpc spec section 1.3, pains 13, 14.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from string import Template

from trackyard.errors import EnvironmentLacking
from trackyard.launch.image.elsewhere import elsewhere
from trackyard.launch.image.entering import Bind, Entering
from trackyard.launch.image.environment import cache_folder, cache_variables, offline, passed_on
from trackyard.launch.sites import FOLDER, Site
from trackyard.record.code import COMMIT_VARIABLE, DIRTY_VARIABLE, code_identity
from trackyard.record.image import IMAGE_VARIABLE
from trackyard.runner import Runner

DEFAULT_DISK = "TMPDIR"
"""The one variable that need not be set: then it is the system's temporary directory."""
HUB = ("HF_HUB_CACHE", "HF_HOME")
"""Where the hub keeps what was fetched beforehand: HF_HUB_CACHE, else hub/ of HF_HOME, else of ~/.cache/huggingface."""


def entering_for(
    root: Path, image: Path, digest: str, command: tuple[str, ...], *, site: Site | None, gpus: bool, runner: Runner,
    environment: Mapping[str, str] | None = None,
) -> Entering:  # fmt: skip
    """A command in an image, as stages are run. site: for its disk and binds; None: as at the site local.

    Makes the directories of caches on this node's disk. Raises EnvironmentLacking where that is none, or where nobody
    knows the commit of the code.
    """
    host = os.environ if environment is None else environment
    disk = local_disk(site, host)
    caches = cache_variables(disk, digest)
    _make_caches(cache_folder(disk, digest))
    code = code_identity(root, runner, host)
    binds = [Bind(source=disk, target=disk)]
    if site is not None:
        binds += [parse_bind(text, site, host) for text in site.binds]
    hub = hub_cache(host)
    hub_variables = {}
    if hub is not None:
        binds.append(Bind(source=hub, target=hub, read_only=True))
        hub_variables = {"HF_HUB_CACHE": str(hub)}
    # First, and only where nothing else is seen: what a site or the hub binds there is what counts.
    targets = {bind.target for bind in binds}
    binds = [*(bind for bind in elsewhere(root) if bind.target not in targets), *binds]
    return Entering(
        image=image,
        digest=digest,
        command=command,
        workdir=root,
        gpus=gpus,
        environment=passed_on(host) | (site.network.environment if site else {}) | offline() | hub_variables | caches
        | {
            "PYTHONNOUSERSITE": "1",
            "PYTHONPATH": str(root / "src"),
            "TMPDIR": str(disk),
            COMMIT_VARIABLE: code.commit,
            DIRTY_VARIABLE: code.dirty_digest or "",
            IMAGE_VARIABLE: digest,
        },
        binds=tuple(binds),
    )  # fmt: skip


def local_disk(site: Site | None, environment: Mapping[str, str]) -> Path:
    """A directory of this node's own disk. EnvironmentLacking where the site names a variable that is not set."""
    variable = site.local_disk_variable if site else DEFAULT_DISK
    value = environment.get(variable)
    if not value and (site is not None and variable != DEFAULT_DISK):
        raise EnvironmentLacking(
            what=f"{variable} is not set",
            why=f"at the site {site.name} it names a directory of the node's own disk, where compiled things are kept",
            fix=f"export {variable}=<a directory of the node's own disk>, or correct {FOLDER}/{site.name}.yaml",
        )
    path = Path(value or tempfile.gettempdir())
    if not path.is_dir():
        raise EnvironmentLacking(
            what=f"{variable}={path} is no directory of this node",
            why="compiled things are kept on the node's own disk",
            fix=f"export {variable}=<a directory of the node's own disk>",
        )
    return path


def hub_cache(environment: Mapping[str, str]) -> Path | None:
    """Where the hub's files lie on this machine, to be read inside; None where nothing was fetched."""
    place, home = (environment.get(name) for name in HUB)
    path = Path(place) if place else Path(home or Path("~/.cache/huggingface").expanduser()) / "hub"
    return path if path.is_dir() else None


def parse_bind(text: str, site: Site, environment: Mapping[str, str]) -> Bind:
    """SOURCE:TARGET[:ro] of a site, with its $VARIABLES. EnvironmentLacking for one that is not set."""
    try:
        filled = Template(text).substitute(environment)
    except (KeyError, ValueError) as error:
        raise EnvironmentLacking(
            what=f"binds: {text!r}: {error} is not set" if isinstance(error, KeyError) else f"binds: {text!r}: {error}",
            why=f"the site {site.name} names a directory by it that is seen inside the image",
            fix=f"export it, or correct {FOLDER}/{site.name}.yaml",
        ) from error
    source, _, rest = filled.partition(":")
    target, _, mode = rest.partition(":")
    return Bind(source=Path(source), target=Path(target), read_only=mode == "ro")


def _make_caches(folder: Path) -> None:
    """For this user alone: the disk of a node is everybody's. EnvironmentLacking where somebody else was faster."""
    mine = folder.parent
    with suppress(FileExistsError):
        mine.mkdir(mode=0o700, parents=True)
    found = mine.lstat()  # a link of somebody else may lead to a directory of one's own
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise EnvironmentLacking(
            what=f"{mine} belongs to user {found.st_uid}"
            + ("" if stat.S_ISDIR(found.st_mode) else " and is no directory"),
            why="whoever owns it can change what is compiled there and run here",
            fix=f"export {DEFAULT_DISK}=<a directory of your own on the node's disk>",
        )
    folder.mkdir(exist_ok=True)

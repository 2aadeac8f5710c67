"""One function makes every `apptainer exec` line. Source: hpc spec section 1.3, pains 13 and 14."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.redact import Redactor, is_secret_name, require_public

APPTAINER = "apptainer"
_SIMPLE = re.compile(r"[\w@%+:./,-]*", re.ASCII)
"""Values that `--env` takes as they stand. It reads others as lists, and the shell inside would expand them."""
_OF_A_STORE = re.compile(r"-[0-9a-f]{12}$")
"""Behind the name of an image, in the name of its file in a store."""
_HANDED = "APPTAINERENV_"
_OF_ITS_OWN = ("APPTAINER_CACHEDIR", "APPTAINER_CONFIGDIR", "APPTAINER_TMPDIR", "APPTAINER_USERNS")
"""Settings of apptainer that may stay: where it keeps things, and how it makes a namespace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """A directory or file of the host that is seen inside."""

    source: Path
    target: Path
    read_only: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Entering:
    """A command inside an image. digest: sha256 of the image file, `sha256:` and 64 hex digits. gpus: with `--nv`.

    workdir: seen inside under the same path, writable, and where the command starts. environment: all that the command
    sees of the host's, by name; nothing else passes. binds: beside workdir.
    """

    image: Path
    digest: str
    command: tuple[str, ...]
    workdir: Path
    gpus: bool
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()


def entering_argv(entering: Entering) -> list[str]:
    """The whole command line, to be run with `entering_environment`.

    EnvironmentLacking names a missing image, bind source, directory or apptainer: apptainer itself answers 255 to each.
    ConfigError for a path that a bind cannot express, and for a secret in the command.
    """
    _require_there(entering)
    require_public(entering.command, fix="give it in the environment: what is secret there never enters a command line")
    argv = [APPTAINER, "-q", "exec", "--cleanenv", "--no-home"]
    if entering.gpus:
        argv.append("--nv")
    handed = _handed(entering.environment)
    for name in sorted(set(entering.environment) - set(handed)):
        argv += ["--env", f"{name}={entering.environment[name]}"]
    for bind in _binds(entering):
        argv += ["--bind", f"{bind.source}:{bind.target}" + (":ro" if bind.read_only else "")]
    return [*argv, "--pwd", str(entering.workdir), str(entering.image), *entering.command]


def entering_environment(entering: Entering, environment: Mapping[str, str]) -> dict[str, str]:
    """What apptainer itself is given: the host's `environment`, and what the command line must not or cannot hold.

    Variables that would reach into the image past the command line (APPTAINERENV_PYTHONPATH, APPTAINER_BIND, those of
    singularity) are left out.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in _OF_ITS_OWN or not name.startswith(("APPTAINER", "SINGULARITY"))
    }
    return kept | {f"{_HANDED}{name}": _literal(value) for name, value in _handed(entering.environment).items()}


def _handed(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that pass by way of apptainer's own environment: secrets, and values that `--env` would change."""
    redactor = Redactor(environment)
    return {
        name: value
        for name, value in environment.items()
        if is_secret_name(name) or redactor.text(value) != value or not _SIMPLE.fullmatch(value)
    }


def _literal(value: str) -> str:
    """As apptainer must be given it: it sets variables in double quotes by a shell, and escapes the quotes alone."""
    return re.sub(r"([\\$`])", r"\\\1", value)


def _binds(entering: Entering) -> list[Bind]:
    return [Bind(source=entering.workdir, target=entering.workdir), *entering.binds]


def _require_there(entering: Entering) -> None:
    if shutil.which(APPTAINER) is None:
        raise EnvironmentLacking(
            what="apptainer is not on PATH",
            why=f"`{' '.join(entering.command[:4])}` runs in the image {entering.image}",
            fix="module load apptainer, or install it; `trackyard doctor` says what it must be able to do",
        )
    if not entering.image.is_file():
        raise EnvironmentLacking(
            what=f"the image {entering.image} does not exist",
            why="apptainer would say so with exit code 255, as for a missing command",
            fix=f"trackyard image build {_OF_A_STORE.sub('', entering.image.stem)}",
        )
    for bind in _binds(entering):
        for path in (bind.source, bind.target):
            if not path.is_absolute() or re.search(r"[:,\n]", str(path)):
                raise ConfigError(
                    what=f"{path} cannot be bound into an image",
                    why="apptainer separates binds by commas and their parts by colons, and takes absolute paths only",
                    fix="name an absolute path without them; a link to the directory may have another name",
                )
        if not bind.source.exists():
            raise EnvironmentLacking(
                what=f"{bind.source} does not exist on this node",
                why=f"it is to be seen as {bind.target} in the image {entering.image.name}",
                fix=f"mkdir -p {bind.source} on every node that runs jobs, or take it out of `binds` of the site",
            )

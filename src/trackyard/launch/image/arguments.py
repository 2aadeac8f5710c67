"""Build arguments of a definition: those it uses, those that are known here, and those that somebody must give."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from trackyard import __version__
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.image.definition import VARIABLE, parse_definition, rendered
from trackyard.launch.image.describing import OCI, labels_of
from trackyard.launch.image.lock_file import CONTAINERS, IMAGE_LOCK
from trackyard.runner import Runner

WHEELS = "WHEELS"
"""A directory of the locked packages: made for the build where it is not given (see `wheels`)."""
BASE = "BASE"
"""The image file that a definition of `Bootstrap: localimage` begins with: always given."""
READ_FROM_BASE = ("BASE_DIGEST", "BASE_NAME")
FILES = (BASE, WHEELS)
"""Paths of this machine: not recorded, because the digests of base and package lock say what lay there."""
LOCAL = ("localimage", "scratch")
"""Kinds of bases that no registry gives out."""
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$")
MADE = (IMAGE_LOCK.as_posix(), ".sbom.json", ".packages.txt", ".sif", ".build.log")
"""Ends of the names of what builds write into containers/, images they begin with among it: digests say which."""


def used_arguments(definition: str) -> frozenset[str]:
    """Names that a definition uses. Apptainer stops at one that is given and not used."""
    return frozenset(VARIABLE.findall(definition))


def sha256_of(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def build_arguments(
    root: Path, name: str, definition: str, given: Mapping[str, str], runner: Runner, *, now: datetime | None = None
) -> dict[str, str]:
    """Every argument that the definition of `name` uses and has no default for, but WHEELS.

    ConfigError for one that is given and not used, or used and known to nobody, and for a base without a digest.
    """
    used = used_arguments(definition)
    unused = sorted(set(given) - used)
    if unused:
        raise ConfigError(
            what=f"--build-arg {unused[0]}: {CONTAINERS / name}.def does not use it",
            why=f"it uses {', '.join(sorted(used)) or 'none'}; apptainer stops at any other",
            fix=f"leave it out: trackyard image build {name}",
        )
    beside = [key for key in READ_FROM_BASE if key in given]
    if BASE in given and beside:
        raise ConfigError(
            what=f"--build-arg {beside[0]} is given beside {BASE}",
            why=f"it is read from {given[BASE]}; another value would say that the image was made on something else",
            fix=f"leave it out: trackyard image build {name} --build-arg {BASE}={given[BASE]}",
        )
    found = {key: value for key, value in _known(root, given, runner, now).items() if key in used} | dict(given)
    parsed = parse_definition(definition, where=f"{CONTAINERS / name}.def")
    absent = sorted(parsed.required - found.keys() - {WHEELS})
    if BASE in absent:
        absent = [BASE]  # the others are read from it
    if absent:
        raise ConfigError(
            what=f"{CONTAINERS / name}.def needs the build argument {absent[0]}",
            why="it has no default, and nothing here says what it is",
            fix=f"trackyard image build {name} " + " ".join(f"--build-arg {one}=..." for one in absent)
            + f"   ({CONTAINERS}/README.md says where each comes from)",
        )  # fmt: skip
    for stage in parsed.stages:
        base = rendered(stage.header.get("from", ""), stage.defaults | found)
        if stage.header["bootstrap"].lower() not in LOCAL and not _PINNED.search(base):
            raise ConfigError(
                what=f"{CONTAINERS / name}.def is made from {base!r}, which names no digest",
                why="a tag is moved to other bytes without a word: nobody could tell what the image was made from",
                fix="write name:tag@sha256:…; skopeo inspect --format '{{.Digest}}' docker://NAME:TAG   says which",
            )
    return found


def _known(root: Path, given: Mapping[str, str], runner: Runner, now: datetime | None) -> dict[str, str]:
    found = {
        "VERSION": __version__,
        "REVISION": revision(root, runner),
        "CREATED": (now or datetime.now(UTC)).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "LOCK_SHA256": sha256_of((root / "requirements.lock").read_bytes()),
    }
    base = Path(root / given[BASE]) if BASE in given else None
    if base is not None:
        if not base.is_file():
            raise ConfigError(
                what=f"--build-arg {BASE}={given[BASE]}: there is no such file",
                why="the image is made on it",
                fix=f"{CONTAINERS}/debian-base.sh {given[BASE]}",
            )
        with open(base, "rb") as file:
            found["BASE_DIGEST"] = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        found["BASE_NAME"] = labels_of(base, runner).get(f"{OCI}title") or base.name
    return found


def revision(root: Path, runner: Runner) -> str:
    """The commit of the checkout, with `-dirty` where what an image is built from is not committed."""
    head = runner.run(["git", "rev-parse", "HEAD"], cwd=root)
    if head.exit_code != 0:
        raise EnvironmentLacking(
            what=f"git knows no commit of {root}: {head.stderr.strip()}",
            why="an image says of which commit its definition is",
            fix="build it in a checkout that has a commit: git add -A && git commit",
        )
    argv = ["git", "status", "--porcelain", "--untracked-files=all", "--", CONTAINERS.as_posix(), "requirements.lock"]
    changed = [line[3:] for line in runner.run(argv, cwd=root).stdout.splitlines()]
    dirty = any(not path.endswith(MADE) for path in changed)
    return head.stdout.strip() + ("-dirty" if dirty else "")

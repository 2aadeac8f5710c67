"""`trackyard image verify`: an image is the locked bytes, and what the lock says of it is true. Source: pains 11."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from trackyard.errors import DataError, TrackyardError
from trackyard.launch.image.arguments import sha256_of
from trackyard.launch.image.describing import (
    CUDA_LABEL,
    DRIVER_LABEL,
    LABELS,
    LOCK_LABEL,
    NONE,
    OCI,
    definition_at,
    labels_of,
    require_labels,
)
from trackyard.launch.image.finding import image_folder, read_sha256, require_locked
from trackyard.launch.image.lock_file import CONTAINERS, IMAGE_LOCK, Locked, locked_image
from trackyard.launch.image.sbom import package_list, packages_inside, require_sbom
from trackyard.launch.preflight import Check, Seen, Skipped
from trackyard.launch.sites import Site
from trackyard.runner import Runner

PACKAGE_LOCK = Path("requirements.lock")
NAMED = 5
"""Packages that differ, of those that are named."""


def checks(root: Path, name: str, runner: Runner, *, site: Site | None) -> list[Check]:
    """What is to be proved of the image `name`, for `run_checks`. EnvironmentLacking where it is not locked."""
    locked = locked_image(root, name)
    path = image_folder(root, site) / locked.file
    # Both that ask for the bytes are told of one reading of them.
    digest_of = cache(read_sha256)
    return [
        Check(name="file", run=partial(_file, path, name, locked, digest_of)),
        Check(name="definition", run=partial(_definition, root, name, locked)),
        Check(name="package lock", run=partial(_package_lock, root, name, locked)),
        Check(name="labels", run=partial(_labels, root, path, name, locked, runner)),
        Check(name="packages", run=partial(_packages, root, name, locked)),
        Check(name="inside", run=partial(_inside, root, path, name, locked, digest_of, runner)),
    ]


def _file(path: Path, name: str, locked: Locked, digest_of: Callable[[Path], str]) -> Seen:
    require_locked(path, name, locked, digest_of=digest_of)
    return Seen(detail=f"{path}: {locked.digest}, {locked.sif_bytes} bytes", examined=1)


def _definition(root: Path, name: str, locked: Locked) -> Seen:
    path = CONTAINERS / f"{name}.def"
    _same(sha256_of(_bytes(root / path, name)), locked.def_sha256, path, name)
    return Seen(detail=f"{path} is what was built", examined=1)


def _package_lock(root: Path, name: str, locked: Locked) -> Seen:
    _same(sha256_of(_bytes(root / PACKAGE_LOCK, name)), locked.package_lock_sha256, PACKAGE_LOCK, name)
    return Seen(detail=f"{PACKAGE_LOCK} is what was installed", examined=1)


def _same(found: str, locked: str, path: Path, name: str) -> None:
    if found != locked:
        raise DataError(
            what=f"{path} has sha256 {found}; the image {name} was made from {locked}",
            why="what runs in the image is not what this checkout says",
            fix=f"trackyard image build {name}, or bring the file back: git checkout -- {path}",
        )


def _labels(root: Path, path: Path, name: str, locked: Locked, runner: Runner) -> Seen:
    labels = labels_of(path, runner)
    require_labels(path, name, labels)
    claims = {
        LOCK_LABEL: locked.package_lock_sha256,
        f"{OCI}base.name": locked.base.name,
        f"{OCI}base.digest": locked.base.digest,
        f"{OCI}created": locked.created,
        CUDA_LABEL: locked.cuda or NONE,
        DRIVER_LABEL: locked.driver_min or NONE,
    }
    for label, expected in claims.items():
        found = labels.get(label, NONE)
        if found != expected:
            raise DataError(
                what=f"the label {label} of {path} is {found!r}, {IMAGE_LOCK} has {expected!r}",
                why="an image that says something else of itself than its lock was made from something else",
                fix=f"trackyard image build {name}",
            )
    revision = labels[f"{OCI}revision"]
    if revision.endswith("-dirty"):
        return Seen(detail=f"{len(LABELS)} there; built from uncommitted files ({revision})", examined=len(LABELS))
    _same(sha256_of(definition_at(root, name, labels, runner)), locked.def_sha256, CONTAINERS / f"{name}.def", name)
    return Seen(detail=f"{len(LABELS)} there, {len(claims) + 2} proved", examined=len(LABELS))


def _packages(root: Path, name: str, locked: Locked) -> Seen:
    text = _bytes(root / locked.sbom, name)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            what=f"{locked.sbom} is not JSON: {error}", why="it lists what is in the image", fix=_again(name)
        ) from error
    count = require_sbom(document, locked.sbom, sif_sha256=locked.sif_sha256)
    listed = {tuple(line.split("\t")[1:]) for line in _bytes(root / locked.packages, name).decode().splitlines()}
    missing = listed ^ {(one["name"], one["version"]) for one in document["components"]}
    if missing:
        raise DataError(
            what=f"{locked.sbom} and {locked.packages} differ, first in {' '.join(sorted(missing)[0])}",
            why="both are read from the same image",
            fix=_again(name),
        )
    return Seen(detail=f"{count} in {locked.sbom}", examined=count)


def _inside(
    root: Path, path: Path, name: str, locked: Locked, digest_of: Callable[[Path], str], runner: Runner
) -> Seen:
    """The packages that the image itself lists, against the list. Bytes that are not the locked ones are not run."""
    try:
        require_locked(path, name, locked, digest_of=digest_of)
    except TrackyardError as error:
        raise Skipped("not entered: the file is not the locked one") from error
    listed = set(_bytes(root / locked.packages, name).decode().splitlines())
    there = set(package_list(packages_inside(path, locked.digest, root, runner)).splitlines())
    differing = sorted(listed ^ there)
    if differing:
        named = "; ".join(
            f"{' '.join(line.split())} is {'listed, not inside' if line in listed else 'inside, not listed'}"
            for line in differing[:NAMED]
        )
        more = f"; and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
        raise DataError(
            what=f"{locked.packages} is not what is installed in {path}: {named}{more}",
            why="what a run is said to have used is read from the list",
            fix=_again(name),
        )
    return Seen(detail=f"{len(there)} installed, as {locked.packages} has them", examined=len(there))


def _bytes(path: Path, name: str) -> bytes:
    if not path.is_file():
        raise DataError(what=f"{path} does not exist", why=f"the image {name} is proved against it", fix=_again(name))
    return path.read_bytes()


def _again(name: str) -> str:
    return (
        f"trackyard image lock {name} --from FILE.sif   (reads them from the image again); "
        f"or trackyard image build {name}"
    )

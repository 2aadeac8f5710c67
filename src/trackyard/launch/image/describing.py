"""What an image file says of itself, and its entry in the lock made from that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from trackyard.durable import write_atomic
from trackyard.errors import DataError, EnvironmentLacking, TrackyardError
from trackyard.launch.image.entering import APPTAINER
from trackyard.launch.image.finding import file_sha256
from trackyard.launch.image.lock_file import CONTAINERS, Base, Locked
from trackyard.launch.image.sbom import package_list, packages_inside, sbom_document
from trackyard.runner import Finished, Runner

OCI = "org.opencontainers.image."
TITLE_LABEL = f"{OCI}title"
TITLE = "trackyard-"
"""How titles begin; the name of the image follows."""
LOCK_LABEL = "org.trackyard.lock"
LABELS = (
    *(f"{OCI}{name}" for name in ("title", "version", "revision", "source", "created", "licenses", "base.name",
                                  "base.digest")),
    LOCK_LABEL,
)  # fmt: skip
"""Every image has them, none empty."""
CUDA_LABEL, DRIVER_LABEL = "org.trackyard.cuda", "org.trackyard.driver"
NONE = "none"
"""Both, of an image without CUDA libraries."""


def labels_of(image: Path, runner: Runner) -> dict[str, str]:
    """Labels of an image file; DataError where it is no image that apptainer can read."""
    done = runner.run([APPTAINER, "inspect", "--labels", "--json", str(image)], timeout_s=120.0)
    try:
        labels = json.loads(done.stdout)["data"]["attributes"]["labels"] if done.exit_code == 0 else None
    except (json.JSONDecodeError, KeyError, TypeError):
        labels = None
    if not isinstance(labels, dict):
        raise DataError(
            what=f"{image} is no image that apptainer can inspect (exit code {done.exit_code}): {tail(done)}",
            why="its labels say what it was made of",
            fix=f"{APPTAINER} inspect --labels {image}   says more; build it again if it is damaged",
        )
    return {str(name): str(value) for name, value in labels.items()}


def lacking(labels: Mapping[str, str]) -> list[str]:
    """Labels that are absent or empty."""
    return [name for name in LABELS if not labels.get(name, "").strip()]


def require_labels(image: Path, name: str, labels: Mapping[str, str]) -> None:
    """DataError naming the labels that an image lacks, or the title of one that is not the image `name`."""
    absent = lacking(labels)
    if absent:
        raise DataError(
            what=f"{image} lacks the labels {', '.join(absent)}",
            why="by them an image says what it was made of, also where this repository is not",
            fix=f"write them in `%labels` of its definition in {CONTAINERS}/ and build it again",
        )
    title, wanted = labels[TITLE_LABEL], f"{TITLE}{name}"
    if title != wanted:
        raise DataError(
            what=f"{image} is titled {title!r}, wanted {wanted!r}",
            why="it was built from another definition",
            fix=f"name an image of {CONTAINERS / name}.def, whose `%labels` must say {TITLE_LABEL} {wanted}: "
            f"trackyard image build {name}",
        )


def apptainer_version(runner: Runner) -> str:
    """As in the lock: 1.4.5. EnvironmentLacking where there is none."""
    done = runner.run([APPTAINER, "--version"])
    version = done.stdout.strip().removeprefix("apptainer version ")
    if done.exit_code != 0 or not version:
        raise EnvironmentLacking(
            what=f"`{APPTAINER} --version` ended with {done.exit_code}: {tail(done)}",
            why="the lock records what an image was built with",
            fix="repair the installation until it prints its version",
        )
    return version


def describe(
    root: Path, name: str, image: Path, runner: Runner, *, def_sha256: str, build_args: Mapping[str, str]
) -> Locked:
    """The entry of an image file that is called `name`, and its bill of materials and package list, which it writes.

    The entry itself is written by the caller, last: until then the lock speaks of the earlier image.
    """
    labels = labels_of(image, runner)
    require_labels(image, name, labels)
    digest = file_sha256(image)
    packages = packages_inside(image, f"sha256:{digest}", root, runner)
    sbom, listed = CONTAINERS / f"{name}.sbom.json", CONTAINERS / f"{name}.packages.txt"
    document = sbom_document(name, digest, packages)
    try:
        locked = Locked(
            file=file_name(root, name, image.parent, digest),
            def_sha256=def_sha256,
            build_args=dict(sorted(build_args.items())),
            base=Base(name=labels[f"{OCI}base.name"], digest=labels[f"{OCI}base.digest"]),
            sif_sha256=digest,
            sif_bytes=image.stat().st_size,
            apptainer_version=apptainer_version(runner),
            package_lock_sha256=labels[LOCK_LABEL],
            cuda=_known(labels, CUDA_LABEL),
            driver_min=_known(labels, DRIVER_LABEL),
            sbom=sbom.as_posix(),
            packages=listed.as_posix(),
            created=labels[f"{OCI}created"],
        )
    except ValidationError as error:
        raise DataError(
            what=f"{image}: "
            + "; ".join(f"{item['loc'][-1]}={item['input']!r}: {item['msg']}" for item in error.errors()),
            why="a label that is no digest identifies nothing",
            fix=f"correct {CONTAINERS / name}.def or the build arguments, and build it again",
        ) from error
    write_atomic(root / sbom, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    write_atomic(root / listed, package_list(packages))
    return locked


def file_name(root: Path, name: str, folder: Path, digest: str) -> str:
    """Of an image in `folder`. digest: 64 hex digits.

    A store is shared by checkouts: there the name says which bytes it is, so that none replaces what another one locked
    and its jobs run in.
    """
    own = root / CONTAINERS
    return f"{name}.sif" if own.is_dir() and folder.samefile(own) else f"{name}-{digest[:12]}.sif"


def definition_at(root: Path, name: str, labels: Mapping[str, str], runner: Runner) -> bytes:
    """The definition that an image says it was built from, of the commit in its label.

    DataError where the label names no commit of this checkout, or says that something was not committed.
    """
    revision, path = labels.get(f"{OCI}revision", ""), (CONTAINERS / f"{name}.def").as_posix()
    done = runner.run(["git", "show", f"{revision}:{path}"], cwd=root) if _is_commit(revision) else None
    if done is None or done.exit_code != 0:
        raise DataError(
            what=f"the image was built from {path} of {revision or 'no revision'!r}, which this checkout does not have",
            why="nobody can tell which definition that was",
            fix="git fetch --all; an image of uncommitted files cannot be taken over: commit, and build it again",
        )
    return done.stdout.encode()


def _is_commit(text: str) -> bool:
    return len(text) == 40 and set(text) <= set("0123456789abcdef")


def _known(labels: Mapping[str, str], name: str) -> str | None:
    value = labels.get(name, NONE)
    return None if value == NONE else value


def require_tested(image: Path, runner: Runner) -> None:
    """Run the image's own `%test`; TrackyardError with what it said where it fails."""
    done = runner.run([APPTAINER, "-q", "test", "--cleanenv", "--no-home", str(image)], timeout_s=900.0)
    if done.exit_code != 0:
        raise TrackyardError(
            what=f"the test of {image} ended with {done.exit_code}: {tail(done)}",
            why="an image that fails its own test does not run what it was made for",
            fix=f"{APPTAINER} test {image}   shows it all; build the image again",
        )


def tail(done: Finished, characters: int = 600) -> str:
    """The end of what a program said."""
    return (done.stderr.strip() or done.stdout.strip())[-characters:]

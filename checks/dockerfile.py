"""The Dockerfile: what hadolint does not look at, and where it differs from the Apptainer definition of its image."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dockerfile_parse import DockerfileParser  # type: ignore[import-untyped]

from checks.image_rules import (
    DIGEST,
    LOCK,
    apt_packages,
    lacking,
    operations,
    pip_requirements,
    proof,
    proves_lock,
    told,
)
from trackyard.launch.image.definition import VARIABLE, Definition

GIVEN = ("VERSION", "REVISION", "CREATED", "LOCK_SHA256")
"""Arguments without a default: the build stops where one is not given."""


def parsed(text: str) -> DockerfileParser:
    """Arguments without a default are put in, so that an empty label is one that was forgotten."""
    parser = DockerfileParser(fileobj=io.BytesIO(), build_args=dict.fromkeys(GIVEN, "given"))
    parser.content = text
    return parser


def problems_of(text: str) -> Iterator[str]:
    """Of a Dockerfile by itself."""
    parser = parsed(text)
    images = parser.parent_images
    yield from (f"{image} is not pinned as name:tag@sha256:…" for image in images if not DIGEST.search(image or ""))
    if not images:
        yield "it has no FROM"
    yield from lacking(parser.labels)
    if not proves_lock(_values(parser, "RUN")):
        yield f"{LOCK} is not compared with its label"
    last = max((place for place, one in enumerate(parser.structure) if one["instruction"] == "FROM"), default=0)
    users = [one["value"] for one in parser.structure[last:] if one["instruction"] == "USER"]
    if not users or users[-1].split(":")[0] in ("root", "0"):
        yield "it runs as root"
    if "<<" in text:
        yield "heredocs are misread by those that check"
    for one in parser.structure:
        if one["instruction"] not in ("COMMENT", "FROM"):
            yield from told(one["value"], one["instruction"])


def apart(definition: Definition, text: str, *, twin: str) -> Iterator[str]:
    """Where it and the definition `twin` would not make the same image."""
    parser = parsed(text)
    posts = "\n".join(one.text for stage in definition.stages for one in stage.named("post"))
    runs = _values(parser, "RUN")
    defaults = {name: value for stage in definition.stages for name, value in stage.defaults.items()}
    locks = [word for value in _all(parser, "COPY") for word in value.split()[:-1] if word.endswith(".lock")]
    pairs = {
        "bases": ([stage.base for stage in definition.stages], parser.parent_images),
        "files of pins": (sorted(definition.locks), sorted(locks)),
        "packages of apt": (apt_packages(posts), apt_packages(runs)),
        "files that pip installs": (pip_requirements(posts), pip_requirements(runs)),
        "operations": (operations(posts), operations(runs)),
        "architectures": (defaults.get("ARCHITECTURES"), _arguments(parser).get("ARCHITECTURES")),
        "things proved": (proof("\n".join(one.text for one in definition.image.named("test"))), proof(runs)),
    }
    for what, (here, there) in pairs.items():
        if here != there or not here:
            yield f"its {what} are {there}, those of {twin} {here}"
    mine, labels = definition.labels, parser.labels
    for key in sorted(mine.keys() | labels.keys()):
        if not VARIABLE.search(mine.get(key, "")) and mine.get(key) != labels.get(key):
            yield f"its label {key} is {labels.get(key)!r}, that of {twin} {mine.get(key)!r}"


def hadolint(root: Path, name: str) -> Iterator[str]:
    """What hadolint says, which reads .hadolint.yaml of `root`. Its crash is told as one."""
    argv = [str(Path(sys.executable).with_name("hadolint")), "--no-color", name]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    if done.stdout.strip():
        yield from done.stdout.strip().splitlines()
    elif done.returncode != 0:
        yield f"{name}: hadolint ended with {done.returncode}: {done.stderr.strip()}"


def _all(parser: DockerfileParser, instruction: str) -> list[str]:
    return [one["value"] for one in parser.structure if one["instruction"] == instruction]


def _values(parser: DockerfileParser, instruction: str) -> str:
    return "\n".join(_all(parser, instruction))


def _arguments(parser: DockerfileParser) -> dict[str, str]:
    """Defaults of all stages."""
    pairs = (value.split("=", 1) for value in _all(parser, "ARG") if "=" in value)
    return {name: value.strip('"') for name, value in pairs}

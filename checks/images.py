"""Check the image definitions without building them: what Apptainer's own parser and hadolint do not look at.

    python -m checks.images

Every *.def of containers/, and the Dockerfile of the same image as train.def: bases pinned by digest, the lock that is
installed, labels, no way out of `%post` onto the machine that builds, no host of the network but the base's (hpc spec
sections 1.2 and 2). Exit 0: sound, 1: a problem, or a definition is absent.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checks import dockerfile
from checks.image_rules import DIGEST, LOCK, commands, lacking, proof, proves_lock, told
from checks.repository import ROOT
from trackyard.errors import TrackyardError
from trackyard.launch.image.definition import Definition, Stage, read_definition

FOLDER = "containers"
NAMES = ("cpu", "train")
TWIN, DOCKERFILE = f"{FOLDER}/train.def", f"{FOLDER}/Dockerfile"
WALKS = (
    (re.compile(r"\bfind\s+/(?:\s|$)"), "walks over /, where the machine that builds is mounted"),
    (
        re.compile(r"\brm\s[^|;&]*\s\"?(?:/tmp|/var/tmp|/dev/shm)(?:[/*\s\"]|$)"),
        "deletes in a directory of all",
    ),
    (re.compile(r"\brm\s[^|;&]*\s\"?/(?:\*|\s|$)"), "deletes /"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was examined, and what is wrong with it."""

    files: tuple[str, ...]
    problems: tuple[str, ...]


def examine(root: Path) -> Report:
    """Check every definition below `root`; ConfigError for one that cannot be read."""
    files, problems = [], []
    names = sorted({*NAMES, *(path.stem for path in (root / FOLDER).glob("*.def"))})
    for name in names:
        path = root / FOLDER / f"{name}.def"
        where = f"{FOLDER}/{name}.def"
        if not path.is_file():
            problems.append(f"{where}: is absent")
            continue
        files.append(where)
        problems += [f"{where}: {one}" for one in problems_of(name, read_definition(path))]
    if not (root / DOCKERFILE).is_file():
        problems.append(f"{DOCKERFILE}: is absent")
    else:
        files.append(DOCKERFILE)
        text = (root / DOCKERFILE).read_text(encoding="utf-8")
        problems += [f"{DOCKERFILE}: {one}" for one in dockerfile.problems_of(text)]
        problems += dockerfile.hadolint(root, DOCKERFILE)
        if TWIN in files:
            twin = read_definition(root / TWIN)
            problems += [f"{DOCKERFILE}: {one}" for one in dockerfile.apart(twin, text, twin=TWIN)]
    return Report(files=tuple(files), problems=tuple(problems))


def problems_of(name: str, definition: Definition) -> Iterator[str]:
    """Of the definition of the image `name`."""
    for stage in definition.stages:
        label = f"stage {stage.header['stage']}: " if "stage" in stage.header else ""
        yield from (f"{label}{one}" for one in _of_stage(stage))
    image, labels = definition.image, definition.labels
    yield from lacking(labels)
    if labels.get("org.opencontainers.image.title") != f"trackyard-{name}":
        yield f"its title is not trackyard-{name}"
    for section in ("environment", "test", "runscript", "help"):
        if not any(one.lines for one in image.named(section)):
            yield f"%{section} is absent or empty"
    if not any("export PYTHONNOUSERSITE=1" in one.lines for one in image.named("environment")):
        yield "%environment does not set PYTHONNOUSERSITE=1"
    if proof("\n".join(one.text for one in image.named("test")))[:2] != [LOCK, name]:
        yield f"%test does not prove {LOCK}"
    posts = "\n".join(one.text for stage in definition.stages for one in stage.named("post"))
    if LOCK not in definition.locks or not proves_lock(posts):
        yield f"{LOCK} is not copied, or not compared with its label"
    if not any(line.endswith("pip check") for line in commands(posts)):
        yield "`pip check` is not run"
    yield from _stages_apart(definition)


def _of_stage(stage: Stage) -> Iterator[str]:
    bootstrap = stage.header["bootstrap"]
    if bootstrap == "docker" and not DIGEST.search(stage.base):
        yield f"{stage.base} is not pinned as name:tag@sha256:…"
    if bootstrap not in ("docker", "localimage"):
        yield f"Bootstrap: {bootstrap} cannot be pinned by a digest"
    if stage.named("setup"):
        yield "%setup runs on the machine that builds"
    for section in stage.named("post"):
        if section.lines[:1] != ("set -eu",):
            yield "%post does not begin with `set -eu`"
        for line in commands(section.text):
            yield from (f"%post {what}: {line}" for walk, what in WALKS if walk.search(line))
        if "apt-get install" in section.text and "rm -rf /var/lib/apt/lists/*" not in section.lines:
            yield "%post leaves the lists of packages"
    for section in stage.sections:
        if section.name != "help":
            yield from told(section.text, f"%{section.name}")
    unused = sorted(stage.defaults.keys() - stage.variables)
    if unused:
        yield f"arguments that nothing in it uses: {', '.join(unused)}"


def _stages_apart(definition: Definition) -> Iterator[str]:
    """Apptainer carries no argument from one stage to the next, so stages repeat them; and it looks for a stage that
    `%files from` names only when it has built those before."""
    seen: dict[str, str] = {}
    earlier: set[str] = set()
    for stage in definition.stages:
        for name, value in stage.defaults.items():
            if seen.setdefault(name, value) != value:
                yield f"{name} is {seen[name]} in one stage and {value} in another"
        for section in stage.named("files"):
            if section.rest and section.rest.removeprefix("from ") not in earlier:
                yield f"%files {section.rest}: there is no such stage before it"
        earlier.add(stage.header.get("stage", ""))


def main(root: Path = ROOT) -> int:
    """Print what is wrong and what was examined; returns the exit code."""
    try:
        report = examine(root)
    except TrackyardError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in report.problems:
        print(problem)
    print(f"images: {len(report.files)} definitions ({', '.join(report.files)}), {len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())

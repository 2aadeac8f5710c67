"""The chain of an export, a run directory or a checkpoint: links from its lineage.json, back to data, code and parents.

Nothing is proved here. What a link states of other files is read only where those are the recorded ones; otherwise
their digests give them away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from trackyard.digest import digest_json
from trackyard.errors import CheckpointError, DataError, IdentityError
from trackyard.record.identity import RunSpec, flatten, read_spec, spec_from_body
from trackyard.record.lineage.document import (
    LINEAGE,
    Lineage,
    ParentFact,
    names_in,
    read_lineage,
)
from trackyard.record.lineage.links import Claim, Hashed, Link
from trackyard.record.lineage.materials import WEIGHTS, model_link, named_leaves, plan_link, snapshot_link
from trackyard.record.lineage.origins import NO_PLAN
from trackyard.record.lineage.surroundings import code_link, image_link
from trackyard.record.rundir import SPEC
from trackyard.runner import SystemRunner

FILES, CHECKPOINT, RUN = "files", "checkpoint", "run"
"""Names of links."""
CHECKPOINTS = "checkpoints"
NONE = "none"


def run_chain(directory: Path, repository: Path, *, before: str = "") -> Link:
    """The chain of an export, a run directory, or a checkpoint in one.

    repository: a checkout, whose code is compared, and which places are recorded relative to. before: what all names
    begin with, for a chain that is part of another. A run that has made nothing yet begins its chain itself.
    Raises DataError without a lineage.json that is sound.
    """
    directory = directory.absolute()
    builder = _Builder(repository=repository)
    if directory.parent.name == CHECKPOINTS and not (directory / LINEAGE).is_file():
        return builder.checkpoint(directory, before)
    lineage = read_lineage(directory)
    run = builder.run(lineage, before, beside=directory)
    return run if lineage.files is None else _made(directory, lineage.files, before, run)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Builder:
    repository: Path

    def checkpoint(self, directory: Path, before: str) -> Link:
        """The chain of a checkpoint, whose run's lineage.json lies above it."""
        above = directory.parent.parent
        lineage = read_lineage(above)
        run = self.run(lineage, before, beside=above)
        identity = {"run_id": lineage.run_id, "plan": str(lineage.spec.get("plan"))}
        claims, files = _checkpoint(directory, identity)
        return Link(
            kind="checkpoint",
            name=f"{before}{CHECKPOINT}",
            fix=f"remove {directory}; the run then goes on from the checkpoint before it",
            facts={"path": directory.name, **identity},
            claims=claims,
            files=files,
            inputs=(run,),
        )

    def run(self, lineage: Lineage, before: str, *, beside: Path | None) -> Link:
        """A run and all that it was made from. beside: where its spec.json may lie; None for a parent's."""
        spec = spec_from_body(lineage.spec, where=LINEAGE, fix="restore it from where it was published")
        code = code_link(spec.code, self.repository, SystemRunner(), before=before)
        inputs = [] if lineage.plan is None else [plan_link(lineage.plan, self.repository, before)]
        inputs += [
            snapshot_link(name, fact, self.repository, before) for name, fact in sorted(lineage.snapshots.items())
        ]
        inputs += [
            model_link(name, fact, spec, self.repository, before, code) for name, fact in sorted(lineage.models.items())
        ]
        inputs.append(code)
        if spec.image is not None:
            inputs.append(image_link(spec.image, self.repository, before=before))
        if lineage.parent is not None:
            inputs.append(self._parent(lineage.parent, before))
        return Link(
            kind="run",
            name=f"{before}{RUN}",
            fix="restore lineage.json from where it was published, or run the stage again",
            facts={
                "run": lineage.run_id,
                "track": spec.track,
                "stage": spec.stage,
                "seed": str(spec.seed),
                "parent": spec.parent or NONE,
                "image": spec.image or NONE,
            },
            claims=(*_run_claims(lineage, spec), *_spec_claims(lineage, beside)),
            inputs=tuple(inputs),
        )

    def _parent(self, fact: ParentFact, before: str) -> Link:
        """What was taken of the parent's export, and the parent itself."""
        directory = self.repository / fact.path
        before = f"{before}parent: "
        absent = _gone(directory, fact.lineage.run_id)
        files = tuple(
            Hashed(path=directory / name, algorithm="blake3", digest=digest) for name, digest in fact.taken.items()
        )
        return Link(
            kind="made",
            name=f"{before}{FILES}",
            fix=f"bring the export of run {fact.lineage.run_id} back to {directory} (`dvc checkout`)",
            facts={"path": str(directory), "run": fact.lineage.run_id},
            files=() if absent else files,
            absent=absent,
            inputs=(self.run(fact.lineage, before, beside=None),),
        )


def _made(directory: Path, files: Mapping[str, str], before: str, run: Link) -> Link:
    """The files that a lineage.json speaks of. An export holds no others: they would be published as the run's. A run
    directory holds more, but not in the folders that are spoken of.
    """
    others = [name for name in names_in(directory) if name not in files]
    if (directory / SPEC).is_file():
        spoken_of = {parts[0] for name in files if len(parts := PurePosixPath(name).parts) > 1}
        others = [name for name in others if PurePosixPath(name).parts[0] in spoken_of]
        fix = f"remove {directory / LINEAGE} and what it speaks of, and run the stage again"
    else:
        fix = f"dvc checkout {directory}, or run the stage again (of a copy: bring it again)"
    if others:
        fix = f"move what is too many out of {directory}; or {fix}"
    found = ", ".join(others) or NONE
    return Link(
        kind="made",
        name=f"{before}{FILES}",
        fix=fix,
        facts={"path": str(directory)},
        claims=(Claim(what="files that lineage.json does not speak of", expected=NONE, found=found),),
        files=tuple(Hashed(path=directory / name, algorithm="blake3", digest=files[name]) for name in sorted(files)),
        inputs=(run,),
    )


def _gone(directory: Path, run_id: str) -> str | None:
    """Why the parent's export cannot be proved; None where that of the run lies there."""
    if not (directory / LINEAGE).is_file():
        return f"the export of run {run_id} is not at {directory}"
    try:
        found = read_lineage(directory).run_id
    except DataError as error:
        return error.what
    return None if found == run_id else f"the export of run {run_id} was at {directory}, where that of {found} is now"


def _run_claims(lineage: Lineage, spec: RunSpec) -> tuple[Claim, ...]:
    """The run id follows from the specification, and all links are those that it names."""
    plan = NO_PLAN if lineage.plan is None else lineage.plan.fingerprint
    recorded = {name: fact.fingerprint for name, fact in lineage.snapshots.items()}
    parent = None if lineage.parent is None else lineage.parent.lineage.run_id
    claims = [
        Claim(what="run id", expected=lineage.run_id, found=spec.run_id),
        Claim(what="plan", expected=spec.plan, found=plan),
        *_each("snapshot", spec.snapshots, recorded),
        Claim(what="parent run", expected=spec.parent or NONE, found=parent or NONE),
        *_start_claims(lineage, spec),
    ]
    if lineage.parent is not None:
        claims += _taken_claims(lineage.parent, spec)
    return tuple(claims)


def _each(what: str, expected: Mapping[str, str], found: Mapping[str, str]) -> list[Claim]:
    return [
        Claim(what=f"{what} {name}", expected=expected.get(name, NONE), found=found.get(name, NONE))
        for name in sorted(expected.keys() | found.keys())
    ]


def _start_claims(lineage: Lineage, spec: RunSpec) -> list[Claim]:
    """A run starts from something, and the weights that its specification names are a model's or the parent's."""
    sources = [fact.files for fact in lineage.models.values()]
    sources += [lineage.parent.taken] if lineage.parent is not None else []
    there = {digest for files in sources for digest in files.values()}
    named = {name: str(digest) for name, digest in flatten(spec.model) if name.endswith(WEIGHTS)}
    start = "a model or a parent run"
    return [
        Claim(what="what the run starts from", expected=start, found=start if sources else NONE),
        *_each("weights", named, {name: digest for name, digest in named.items() if digest in there}),
    ]


def _taken_claims(parent: ParentFact, spec: RunSpec) -> list[Claim]:
    """What was taken is what the parent made, and its weights are those that the specification names."""
    made, named = parent.lineage.files or {}, named_leaves(spec)
    claims = [
        Claim(what=f"{name} of the parent", expected=made.get(name, NONE), found=digest)
        for name, digest in sorted(parent.taken.items())
    ]
    weights = {name: digest for name, digest in parent.taken.items() if name.endswith(WEIGHTS)}
    return claims + [
        Claim(what=f"weights {name} in the specification", expected=digest, found=digest if digest in named else NONE)
        for name, digest in sorted(weights.items())
    ]


def _spec_claims(lineage: Lineage, beside: Path | None) -> tuple[Claim, ...]:
    """In a run directory spec.json says the same."""
    if beside is None or not (beside / SPEC).is_file():
        return ()
    try:
        found = digest_json(read_spec(beside / SPEC).body)
    except (DataError, IdentityError) as error:
        found = error.what
    return (Claim(what=SPEC, expected=digest_json(lineage.spec), found=found),)


def _checkpoint(directory: Path, identity: Mapping[str, str]) -> tuple[tuple[Claim, ...], tuple[Hashed, ...]]:
    """Its manifest is the one that COMPLETE names, of this run and plan; and the files that the manifest lists."""
    from trackyard.train.checkpoint import read_manifest  # imports torch

    what, expected = "manifest of a complete checkpoint of the run", str(dict(identity))
    try:
        manifest: Any = read_manifest(directory, identity)
    except (CheckpointError, DataError) as error:
        return (Claim(what=what, expected=expected, found=error.what),), ()
    claims = (Claim(what=what, expected=expected, found=str(dict(identity))),)
    files = (
        Hashed(path=directory / file.path, algorithm="blake3", digest=file.blake3) for file in manifest.files
    )  # fmt: skip
    return claims, tuple(files)

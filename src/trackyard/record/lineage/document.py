"""lineage.json: the chain from made files back to source data, code and parent, written to be re-hashed.

Checkpoint or export -> run -> plan -> data -> model -> code -> image -> parent run -> and so on. It lies in the run
directory from the moment a run begins, and in each export. `run_chain` turns it into links, `proof` proves them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError, IdentityError
from trackyard.parameters import Parameters
from trackyard.plan.plan import DOCUMENT
from trackyard.plan.recorded import recorded_plan
from trackyard.record.lineage.data import DataKind
from trackyard.record.lineage.origins import NO_PLAN, Named, Origins, Parent
from trackyard.schema import read_document, write_document
from trackyard.snapshot.manifest import NAME as MANIFEST

SCHEMA = "trackyard-lineage/2"
LINEAGE = "lineage.json"

Blake3 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Files = Annotated[dict[str, Blake3], Field(min_length=1)]
"""name -> blake3. Of nothing, nothing could be proved: a document with an empty list is refused."""


class PlanFact(Parameters):
    """A plan as it was used. path: relative to the repository; files: the document, and its arrays where it has any."""

    fingerprint: str
    path: str
    files: Files

    @model_validator(mode="after")
    def _document_is_recorded(self) -> Self:
        if DOCUMENT not in self.files:
            raise ValueError(f"no digest of {DOCUMENT}, which the fingerprint follows from")
        return self


class DataFact(Parameters):
    """A data set as it was used (see `DataSet`). path: relative, as above."""

    kind: DataKind
    fingerprint: str
    path: str
    files: Files
    source: dict[str, Any]
    licence: str | None
    restore: str

    @model_validator(mode="after")
    def _manifest_is_recorded(self) -> Self:
        if self.kind != "samples" and MANIFEST not in self.files:
            raise ValueError(f"no digest of {MANIFEST}, which lists the other files")
        return self


class ModelFact(Parameters):
    """Weights that were no run's (see `StartingModel`). path: relative, as above."""

    id: str
    revision: str | None
    licence: str | None
    named: Named
    path: str | None
    files: dict[str, Blake3]
    making: dict[str, Any] | None
    """How it is made from its seed, where it is."""
    restore: str

    @model_validator(mode="after")
    def _files_or_making(self) -> Self:
        if (self.named == "making") == bool(self.files):
            raise ValueError("a model has digests of its files, or is made from a seed and has none")
        return self


class ParentFact(Parameters):
    """The run whose weights were taken: its whole lineage, where it lay, and the files that were read."""

    path: str
    taken: Files
    lineage: Lineage


class Lineage(Parameters):
    """Everything that one run, or one export of it, came from.

    files: what was made; None while a run has made nothing yet.
    """

    run_id: str
    spec: dict[str, Any]
    plan: PlanFact | None
    snapshots: dict[str, DataFact]
    models: dict[str, ModelFact]
    parent: ParentFact | None
    files: Files | None


def write_lineage(directory: Path, made_from: Origins | Lineage, *, files: Iterable[str] | None) -> Path:
    """Write lineage.json into `directory` and return its path.

    made_from: a run's origins when it begins; from then on what was recorded then, whatever lies in its place now.
    files: what was made, relative to `directory`; None for a run that has made nothing yet.
    Raises IdentityError where a link is not the one in the specification, DataError for a missing or damaged file.
    """
    found = lineage_of(made_from) if isinstance(made_from, Origins) else made_from
    lineage = found.model_copy(update={"files": None if files is None else _digests(directory, files)})
    path = directory / LINEAGE
    body = lineage.model_dump(mode="json")
    write_document(path, SCHEMA, {"digest": digest_json(body), "lineage": body})
    return path


def lineage_of(origins: Origins) -> Lineage:
    """The lineage of a run that has made nothing yet. Errors as `write_lineage`."""
    root, spec = origins.root, origins.spec
    _agree("the plan", spec.plan, NO_PLAN if origins.plan is None else recorded_plan(origins.plan).fingerprint)
    _agree("the snapshots", dict(spec.snapshots), {name: data.fingerprint for name, data in origins.snapshots.items()})
    above = _parent_fact(root, origins.parent)
    _agree("the parent run", spec.parent, None if above is None else above.lineage.run_id)
    return Lineage(
        run_id=spec.run_id,
        spec=spec.body,
        plan=None if origins.plan is None else _plan_fact(root, spec.plan, origins.plan),
        snapshots={
            name: DataFact(
                kind=data.kind,
                fingerprint=data.fingerprint,
                path=_relative(data.directory, root),
                files=dict(data.files),
                source=dict(data.source),
                licence=data.licence,
                restore=data.restore,
            )
            for name, data in origins.snapshots.items()
        },
        models={
            name: ModelFact(
                id=model.id,
                revision=model.revision,
                licence=model.licence,
                named=model.named,
                path=None if model.directory is None else _relative(model.directory, root),
                files=dict(model.files),
                making=origins.making if model.named == "making" else None,
                restore=model.restore,
            )
            for name, model in origins.models.items()
        },
        parent=above,
        files=None,
    )


def names_in(directory: Path) -> list[str]:
    """All files below a directory but its lineage.json, relative to it, sorted.

    A link to a folder is named, too: whoever loads the directory would load through it.
    """
    found = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted({path.relative_to(directory).as_posix() for path in found} - {LINEAGE})


def _plan_fact(root: Path, fingerprint: str, plan: Path) -> PlanFact:
    return PlanFact(fingerprint=fingerprint, path=_relative(plan, root), files=_digests(plan, names_in(plan)))


def _parent_fact(root: Path, parent: Parent | None) -> ParentFact | None:
    if parent is None:
        return None
    lineage = read_lineage(parent.directory)
    taken = _digests(parent.directory, parent.taken)
    made = lineage.files or {}
    _agree("what was taken of the parent", {name: made.get(name) for name in taken}, taken)
    return ParentFact(path=_relative(parent.directory, root), taken=taken, lineage=lineage)


def _agree(what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise IdentityError(
            what=f"{what}: the specification says {expected}, given is {found}",
            why="a lineage that disagrees with the run's identity proves nothing",
            fix="give the links that the run was started with (see its spec.json)",
        )


def _relative(path: Path, root: Path) -> str:
    """Links are not followed: data/ may lead to another disk, and another one on the next machine."""
    return Path(os.path.relpath(path, root)).as_posix()


def _digests(directory: Path, names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in sorted(names):
        path = directory / name
        if not path.is_file():
            raise DataError(
                what=f"{path} is no file" if path.exists() else f"{path} does not exist",
                why="lineage.json records the digest of every file it speaks of",
                fix="run the stage again; it makes the file",
            )
        found[name] = digest_file(path)
    if not found:
        raise DataError(
            what=f"no file in {directory}",
            why="a lineage of nothing proves nothing",
            fix="run the stage again; it makes the files",
        )
    return found


def read_lineage(directory: Path) -> Lineage:
    """The lineage in `directory`; DataError if it is absent, damaged, or not what its own digest says."""
    path = directory / LINEAGE
    fix = f"restore {path} from where it was published, or run the stage again"
    document = read_document(path, SCHEMA, fix=fix)
    body = document.get("lineage")
    found = digest_json(body)
    if set(document) != {"schema", "digest", "lineage"} or found != document["digest"]:
        raise DataError(
            what=f"link 'lineage.json' is wrong: {path} has digest {found}, it states {document.get('digest')}",
            why="it was changed after it was written, so nothing it says is proved",
            fix=fix,
        )
    try:
        return Lineage.model_validate(body)
    except ValidationError as error:
        raise DataError(
            what=f"{path}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}",
            why="a lineage that is read only in part proves nothing",
            fix=fix,
        ) from error


def require_file(directory: Path, name: str, *, fix: str) -> Lineage:
    """The lineage in `directory`, after proving that the file `name` beside it is the one it speaks of.

    DataError with both digests if it is not.
    """
    lineage = read_lineage(directory)
    _require({name: (lineage.files or {}).get(name)}, directory, fix)
    return lineage


def require_files(directory: Path, *, fix: str) -> Lineage:
    """The same of every file that the lineage speaks of."""
    lineage = read_lineage(directory)
    _require(lineage.files or {}, directory, fix)
    return lineage


def _require(files: Mapping[str, str | None], directory: Path, fix: str) -> None:
    for name, expected in files.items():
        path = directory / name
        found = digest_file(path) if path.is_file() else "none (no such file)"
        if found != expected:
            raise DataError(
                what=f"{path} has blake3 {found}, its {LINEAGE} says {expected}",
                why="its bytes were changed after it was written, and whatever is made from it would be another result",
                fix=fix,
            )

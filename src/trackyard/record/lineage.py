"""lineage.json: the chain from exported files back to source data, code and parent, written to be re-hashed.

Checkpoint or export -> run -> plan -> snapshots -> code -> image -> parent run -> and so on. `verify_lineage` re-hashes
every link that it finds and names the first that is wrong; what is not at hand it lists as unproved, never as proved.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError, IdentityError
from trackyard.parameters import Parameters
from trackyard.plan.plan import DOCUMENT, fingerprint
from trackyard.plan.plan import SCHEMA as PLAN_SCHEMA
from trackyard.record.identity import RunSpec, spec_from_body
from trackyard.runner import Runner, SystemRunner
from trackyard.schema import read_document, write_document
from trackyard.snapshot.manifest import NAME as MANIFEST
from trackyard.snapshot.manifest import Manifest

SCHEMA = "trackyard-lineage/1"
LINEAGE = "lineage.json"


class PlanFact(Parameters):
    """A plan as it was used. path: relative to the directory of lineage.json; files: name -> blake3."""

    fingerprint: str
    path: str
    files: dict[str, str]


class SnapshotFact(Parameters):
    """A data set as it was used. manifest: blake3 of its manifest.json, which lists the blake3 of every shard."""

    fingerprint: str
    path: str
    manifest: str
    source: dict[str, Any]
    licence: str


class ParentFact(Parameters):
    """The run whose weights were taken: its whole lineage, and where it lay."""

    path: str
    lineage: Lineage


class Lineage(Parameters):
    """Everything that one run, or one export of it, came from. files: what was made, name -> blake3."""

    run_id: str
    spec: dict[str, Any]
    plan: PlanFact
    snapshots: dict[str, SnapshotFact]
    parent: ParentFact | None
    files: dict[str, str]


@dataclass(kw_only=True, slots=True)
class LineageReport:
    """What `verify_lineage` found. hashed: files that were read and had the digest they should have."""

    proved: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)
    hashed: int = 0


def write_lineage(
    directory: Path,
    *,
    spec: RunSpec,
    plan: Path,
    snapshots: Mapping[str, Path],
    parent: Path | None,
    files: Iterable[str],
) -> Path:
    """Write lineage.json into `directory` and return its path.

    plan: the plan's directory. snapshots: by name, the directory with the manifest. parent: the directory with the
    parent run's lineage.json. files: what was made, relative to `directory`.
    Raises IdentityError where a link is not the one in the specification, DataError for a missing or damaged file.
    """
    base = directory.resolve()
    manifests = {name: Manifest.read(path) for name, path in snapshots.items()}
    above = _parent_fact(base, parent, spec)
    _agree("the snapshots", dict(spec.snapshots), {name: manifest.fingerprint for name, manifest in manifests.items()})
    _agree("the plan", spec.plan, _plan_document(plan)[0])
    lineage = Lineage(
        run_id=spec.run_id,
        spec=spec.body,
        plan=PlanFact(fingerprint=spec.plan, path=_relative(plan, base), files=_digests(plan, _names(plan))),
        snapshots={
            name: SnapshotFact(
                fingerprint=manifest.fingerprint,
                path=_relative(snapshots[name], base),
                manifest=digest_file(snapshots[name] / MANIFEST),
                source=dict(manifest.source),
                licence=manifest.licence,
            )
            for name, manifest in manifests.items()
        },
        parent=above,
        files=_digests(directory, files),
    )
    path = directory / LINEAGE
    body = lineage.model_dump(mode="json")
    write_document(path, SCHEMA, {"digest": digest_json(body), "lineage": body})
    return path


def _plan_document(directory: Path) -> tuple[str, dict[str, str]]:
    """The fingerprint that follows from a plan's document, and the digests of its arrays as the document has them."""
    document = read_document(directory / DOCUMENT, PLAN_SCHEMA, fix="`dvc checkout`, or run the stage again")
    arrays = dict(document.get("files", {}))
    return fingerprint(document.get("inputs"), arrays), arrays


def _parent_fact(base: Path, parent: Path | None, spec: RunSpec) -> ParentFact | None:
    lineage = None if parent is None else read_lineage(parent)
    _agree("the parent run", spec.parent, lineage.run_id if lineage else None)
    return None if parent is None or lineage is None else ParentFact(path=_relative(parent, base), lineage=lineage)


def _agree(what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise IdentityError(
            what=f"{what}: the specification says {expected}, given is {found}",
            why="a lineage that disagrees with the run's identity proves nothing",
            fix="give the links that the run was started with (see its spec.json)",
        )


def _relative(path: Path, base: Path) -> str:
    return os.path.relpath(path.resolve(), base)


def _names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def _digests(directory: Path, names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in sorted(names):
        path = directory / name
        if not path.is_file():
            raise DataError(
                what=f"{path} does not exist",
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
    path, expected = directory / name, lineage.files.get(name)
    found = digest_file(path) if path.is_file() else "none (no such file)"
    if found != expected:
        raise DataError(
            what=f"{path} has blake3 {found}, its {LINEAGE} says {expected}",
            why="its bytes were changed after it was written, and whatever is made from it would be another result",
            fix=fix,
        )
    return lineage


def verify_lineage(
    directory: Path, *, repository: Path | None = None, runner: Runner | None = None, shards: bool = True
) -> LineageReport:
    """Re-hash what the lineage in `directory` speaks of.

    repository: a git checkout in which commits are looked up. shards: False skips the bytes of the data sets, which may
    be terabytes, and says so. Raises DataError naming the first wrong link, or if there was no file to hash at all.
    """
    report = LineageReport()
    _Check(report, repository, runner or SystemRunner(), shards).chain(read_lineage(directory), directory.resolve(), "")
    if not report.hashed:
        raise DataError(
            what=f"no file that {directory / LINEAGE} speaks of is at hand",
            why="a lineage of which nothing was examined proves nothing",
            fix="run it in the run directory or in a complete copy of the export",
        )
    return report


class _Check:
    """One verification. Names of links carry the runs walked so far: "parent: plan"."""

    def __init__(self, report: LineageReport, repository: Path | None, runner: Runner, shards: bool) -> None:
        self._report = report
        self._repository = repository
        self._runner = runner
        self._shards = shards

    def chain(self, lineage: Lineage, base: Path, before: str) -> None:
        spec = self._run(lineage, before)
        self._files(lineage, base, before)
        self._plan(lineage.plan, base, before)
        for name, fact in sorted(lineage.snapshots.items()):
            self._snapshot(f"{before}snapshot {name}", fact, (base / fact.path).resolve())
        self._code(spec, before)
        if spec.image:
            self._report.unproved.append(f"{before}image {spec.image}: not at hand")
        if spec.model:
            self._report.unproved.append(f"{before}model {dict(spec.model)}: its source is not re-hashed")
        if lineage.parent:
            self.chain(lineage.parent.lineage, (base / lineage.parent.path).resolve(), f"{before}parent: ")

    def _run(self, lineage: Lineage, before: str) -> RunSpec:
        """The run id follows from the specification, and the other links are those of the specification."""
        spec = spec_from_body(lineage.spec, where=LINEAGE, fix="restore it from where it was published")
        self._same(f"{before}run", "run id", lineage.run_id, spec.run_id)
        self._same(f"{before}plan", "fingerprint", spec.plan, lineage.plan.fingerprint)
        recorded = {name: fact.fingerprint for name, fact in lineage.snapshots.items()}
        self._same(f"{before}snapshots", "fingerprints", dict(spec.snapshots), recorded)
        self._same(f"{before}parent", "run id", spec.parent, lineage.parent.lineage.run_id if lineage.parent else None)
        self._report.proved.append(f"{before}run {lineage.run_id}: its id follows from its specification")
        return spec

    def _files(self, lineage: Lineage, base: Path, before: str) -> None:
        if before and not all((base / name).is_file() for name in lineage.files):
            self._report.unproved.append(f"{before}files: not all at {base} any more")
            return
        for name, digest in lineage.files.items():
            self._hash(f"{before}file {name}", base / name, digest)
        self._report.proved.append(f"{before}files: {len(lineage.files)} re-hashed")
        listed = {*lineage.files, LINEAGE}
        others = [] if before or not (base / LINEAGE).is_file() else [n for n in _names(base) if n not in listed]
        if others:
            self._report.unproved.append(f"files beside it that it does not speak of: {', '.join(others)}")

    def _plan(self, fact: PlanFact, base: Path, before: str) -> None:
        directory = (base / fact.path).resolve()
        if not directory.is_dir():
            self._report.unproved.append(f"{before}plan {fact.fingerprint}: not at {directory}")
            return
        for name, digest in fact.files.items():
            self._hash(f"{before}plan {name}", directory / name, digest)
        found, arrays = _plan_document(directory)
        self._same(f"{before}plan", "fingerprint", fact.fingerprint, found)
        self._same(f"{before}plan", "digests", arrays, {n: fact.files[n] for n in fact.files if n != DOCUMENT})
        self._report.proved.append(f"{before}plan {fact.fingerprint}: {len(fact.files)} files re-hashed")

    def _snapshot(self, link: str, fact: SnapshotFact, directory: Path) -> None:
        manifest = directory / MANIFEST
        if not manifest.is_file():
            self._report.unproved.append(f"{link} {fact.fingerprint}: not at {directory}")
            return
        self._hash(f"{link} manifest", manifest, fact.manifest)
        read = Manifest.read(directory)
        self._same(f"{link} manifest", "fingerprint", fact.fingerprint, read.fingerprint)
        source = " ".join(f"{key}={value}" for key, value in fact.source.items())
        if not self._shards:
            self._report.proved.append(f"{link}: manifest re-hashed, from {source} ({fact.licence})")
            self._report.unproved.append(f"{link} shards: skipped as asked")
            return
        for entry in read.files:
            self._hash(f"{link} {entry.path}", directory / entry.path, entry.blake3)
        self._report.proved.append(f"{link}: {len(read.files)} files re-hashed, from {source} ({fact.licence})")

    def _code(self, spec: RunSpec, before: str) -> None:
        link = f"{before}code {spec.code.commit}"
        if spec.code.dirty_digest:
            self._report.unproved.append(f"{link}: uncommitted changes {spec.code.dirty_digest} are kept nowhere")
        if self._repository is None:
            self._report.unproved.append(f"{link}: no checkout to look it up in")
            return
        argv = ["git", "cat-file", "-e", f"{spec.code.commit}^{{commit}}"]
        if self._runner.run(argv, cwd=self._repository).exit_code == 0:
            self._report.proved.append(f"{link}: in {self._repository}")
        else:
            self._report.unproved.append(f"{link}: not in {self._repository}")

    def _hash(self, link: str, path: Path, expected: str) -> None:
        self._same(link, f"digest of {path}", expected, digest_file(path) if path.is_file() else "none (no such file)")
        self._report.hashed += 1

    def _same(self, link: str, what: str, expected: Any, found: Any) -> None:
        if expected != found:
            raise DataError(
                what=f"link {link!r} is wrong: {what}: expected {expected}, found {found}",
                why="from this link on, nothing proves what the result was made from",
                fix="restore the named file (`dvc checkout` for data, plan and export), or run the stage again",
            )

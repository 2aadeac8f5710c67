"""The links of what a run reads: its plan, its data, and weights that no run of ours has trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.digest import canonical_json, digest_file
from trackyard.plan.plan import DOCUMENT
from trackyard.plan.recorded import recorded_plan
from trackyard.record.identity import RunSpec, flatten
from trackyard.record.lineage.data import contents
from trackyard.record.lineage.datasets import source_words
from trackyard.record.lineage.document import DataFact, ModelFact, PlanFact
from trackyard.record.lineage.links import Claim, Hashed, Link
from trackyard.snapshot.manifest import NAME as MANIFEST

WEIGHTS = ".safetensors"
UNKNOWN = "not stated"
_DERIVED = "run the stage again by `trackyard run`: it derives the plan from the same inputs"


def plan_link(fact: PlanFact, root: Path, before: str) -> Link:
    """A plan, whose fingerprint follows from its document."""
    directory, name = root / fact.path, f"{before}plan"
    facts = {"fingerprint": fact.fingerprint, "path": str(directory)}
    if not directory.is_dir():
        absent = f"{fact.fingerprint} is not at {directory}"
        return Link(kind="plan", name=name, fix=_DERIVED, facts=facts, absent=absent)
    claims: tuple[Claim, ...] = ()
    if _is(directory / DOCUMENT, fact.files.get(DOCUMENT)):
        recorded = recorded_plan(directory)
        claims = (
            Claim(what="fingerprint", expected=fact.fingerprint, found=recorded.fingerprint),
            *(
                Claim(what=f"digest of {array}", expected=digest, found=fact.files.get(array, "none"))
                for array, digest in recorded.files.items()
            ),
        )
    files = _hashed(directory, fact.files)
    fix = f"rm -r {directory}, then {_DERIVED}"
    return Link(kind="plan", name=name, fix=fix, facts=facts, claims=claims, files=files)


def snapshot_link(name: str, fact: DataFact, root: Path, before: str) -> Link:
    """A data set: what records it, and every file that its manifest lists."""
    directory, called = root / fact.path, f"{before}snapshot {name}"
    facts = {
        "dataset": name,
        "fingerprint": fact.fingerprint,
        "licence": fact.licence or UNKNOWN,
        "source": source_words(fact.source),
        "path": str(directory),
    }
    if not any((directory / recorded).is_file() for recorded in fact.files):
        absent = f"{fact.fingerprint} is not at {directory}"
        return Link(kind="snapshot", name=called, fix=fact.restore, facts=facts, absent=absent)
    files = dict(fact.files)
    found = fact.fingerprint if fact.fingerprint in files.values() else "of none of its files"
    claims: tuple[Claim, ...] = (Claim(what="fingerprint", expected=fact.fingerprint, found=found),)
    if fact.kind != "samples":
        claims = ()
        if _is(directory / MANIFEST, fact.files.get(MANIFEST)):
            stated = contents(fact.kind, directory)
            claims = (
                Claim(what="fingerprint", expected=fact.fingerprint, found=stated.fingerprint),
                Claim(what="source", expected=_text(fact.source), found=_text(dict(stated.source))),
            )
            if stated.licence is not None:
                claims += (Claim(what="licence", expected=fact.licence or UNKNOWN, found=stated.licence),)
            files |= stated.files
    return Link(
        kind="snapshot", name=called, fix=fact.restore, facts=facts, claims=claims, files=_hashed(directory, files)
    )


def model_link(name: str, fact: ModelFact, spec: RunSpec, root: Path, before: str, code: Link) -> Link:
    """A model of the hub or a made one. What is made from a seed has no files: code and specification make it."""
    called = f"{before}model {name}"
    facts = {"id": fact.id, "revision": fact.revision or UNKNOWN, "licence": fact.licence or UNKNOWN}
    if fact.named == "making":
        made = Claim(what="how it is made", expected=_text(spec.model), found=_text(fact.making))
        facts |= {"made": f"from seed {spec.seed} by the code of the run, and proved with it"}
        return Link(kind="model", name=called, fix=fact.restore, facts=facts, claims=(made,), inputs=(code,))
    claims = _named(fact, spec)
    if fact.path is None:
        files, absent = _in_cache(fact)
    else:
        directory = root / fact.path
        facts["path"] = str(directory)
        here = any((directory / recorded).is_file() for recorded in fact.files)
        files = _hashed(directory, fact.files) if here else ()
        absent = None if here else f"{fact.id} is not at {directory}"
    return Link(kind="model", name=called, fix=fact.restore, facts=facts, claims=claims, files=files, absent=absent)


def named_leaves(spec: RunSpec) -> frozenset[str]:
    """Every text in what a specification says of its model: ids, revisions and digests."""
    return frozenset(str(value) for _, value in flatten(spec.model))


def _named(fact: ModelFact, spec: RunSpec) -> tuple[Claim, ...]:
    """The specification names these very weights (of a model without weights all its files), or id and revision."""
    leaves = named_leaves(spec)
    if fact.named == "revision":
        wanted = {"id": fact.id, "revision": fact.revision or UNKNOWN}
    else:
        weights = {name: digest for name, digest in sorted(fact.files.items()) if name.endswith(WEIGHTS)}
        wanted = weights or dict(sorted(fact.files.items()))
    return tuple(
        Claim(what=f"{what} in the specification", expected=value, found=value if value in leaves else "none")
        for what, value in wanted.items()
    )


def _in_cache(fact: ModelFact) -> tuple[tuple[Hashed, ...], str | None]:
    """The files in the hub's cache of this user, and why not where it lacks one."""
    from huggingface_hub import try_to_load_from_cache

    found = []
    for name, digest in sorted(fact.files.items()):
        path = try_to_load_from_cache(fact.id, name, revision=fact.revision)
        if not isinstance(path, str):
            return (), f"{name} of {fact.id} at {fact.revision or 'main'} is not in the hub's cache"
        found.append(Hashed(path=Path(path), algorithm="blake3", digest=digest))
    return tuple(found), None


def _hashed(directory: Path, files: Mapping[str, str]) -> tuple[Hashed, ...]:
    return tuple(Hashed(path=directory / name, algorithm="blake3", digest=files[name]) for name in sorted(files))


def _is(path: Path, digest: str | None) -> bool:
    return path.is_file() and digest_file(path) == digest


def _text(value: Any) -> str:
    return canonical_json(value).decode()

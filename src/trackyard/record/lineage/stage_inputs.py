"""What a stage read that no stage puts out: code and other files kept in git, parameters, and the code that a track's
parameter files state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from trackyard.digest import short
from trackyard.errors import DataError
from trackyard.record.code import package_digest
from trackyard.record.identity import flatten
from trackyard.record.lineage.dvc_graph import Entry, StageGraph, StageRecord
from trackyard.record.lineage.dvc_tree import directory_md5, hash_files, is_directory
from trackyard.record.lineage.links import Claim, Hashed, Link

_PACKAGE = Path("src/trackyard")
_ABSENT = "absent"
_DECLARED = "-parameters/"
"""Part of the schema of a file that states parameters and code of a stage (artifacts/<track>/parameters/)."""


class AtHand:
    """The folders of the checkout as they are now, each hashed once for a chain, however many stages read it."""

    def __init__(self, graph: StageGraph) -> None:
        self._graph = graph
        self._folders: dict[str, str] = {}
        self.root = graph.root

    def folder(self, path: str) -> str:
        """The digest of a folder, as DVC has it."""
        if path not in self._folders:
            self._folders[path] = directory_md5(hash_files(self._graph.files(path), self.root / path))
        return self._folders[path]

    @cached_property
    def package(self) -> str:
        """The digest of the package, as the parameter files of a track state it."""
        return package_digest(self.root / _PACKAGE)


def kept_link(hand: AtHand, entry: Entry, address: str) -> Link:
    """The link of a dependency that no stage puts out: a file or a folder of the checkout.

    address: of the stage that read it. A folder is hashed here: of it dvc.lock keeps one digest and no list of files.
    """
    path, facts = hand.root / entry.path, {"path": entry.path, "read as": entry.words}
    fix = f"check out the version that was used (`git log -- {entry.path}`), or dvc repro {address}"
    absent, claims, files = None, list[Claim](), list[Hashed]()
    if entry.digest is None:
        absent = "dvc.lock does not say which bytes were read"
    elif not path.exists():
        absent = f"{entry.path} is not at hand"
    elif is_directory(entry.digest):
        claims.append(Claim(what=f"md5 of {entry.path}", expected=entry.digest, found=hand.folder(entry.path)))
    else:
        files.append(Hashed(path=path, algorithm="md5", digest=entry.digest))
    return Link(kind="code", name=f"code {entry.path}", fix=fix, facts=facts, claims=tuple(claims),
                files=tuple(files), absent=absent)  # fmt: skip


def command_claim(stage: StageRecord) -> Claim:
    """That the command which made the outputs is the one in dvc.yaml."""
    found = f"another: {stage.command}" if stage.command_changed else "that of dvc.lock"
    return Claim(what="command in dvc.yaml", expected="that of dvc.lock", found=found)


def parameter_claims(stage: StageRecord) -> Iterator[Claim]:
    """Each parameter of a stage in dvc.lock against its value now, as JSON: 1 is neither 1.0 nor true."""
    for file, key in sorted({*stage.recorded, *stage.current}):
        before, now = _leaves(stage.recorded, file, key), _leaves(stage.current, file, key)
        for leaf in sorted({*before, *now}):
            yield Claim(what=f"{file}: {leaf}", expected=before.get(leaf, _ABSENT), found=now.get(leaf, _ABSENT))


def _leaves(values: Mapping[tuple[str, str], Any], file: str, key: str) -> dict[str, str]:
    """The values below a key, as JSON by their path; none where the key is absent."""
    found = flatten({key: values[file, key]}) if (file, key) in values else ()
    return {leaf: json.dumps(value, ensure_ascii=False, sort_keys=True, default=str) for leaf, value in found}


def declared_code(hand: AtHand, entry: Entry) -> Link | None:
    """The code that a track's parameter file states, against the package at hand; None for any other file."""
    path = hand.root / entry.path
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        body: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(
            what=f"{entry.path} is not valid JSON: {error}",
            why="it states the parameters and the code of a stage of this chain",
            fix=f"dvc checkout {entry.path}",
        ) from error
    if not isinstance(body, dict) or _DECLARED not in str(body.get("schema")) or not isinstance(body.get("code"), str):
        return None
    claim = Claim(what=f"blake3 of {_PACKAGE.as_posix()}", expected=body["code"], found=hand.package)
    return Link(
        kind="code",
        name=f"code of the package {short(body['code'])}",
        fix="check out the commit that was used, or run the stages again that read another package",
        facts={"blake3 of the package": body["code"]},
        claims=(claim,),
    )

"""Data sets among the files of a stage or of data.dvc, recognised by the document that describes each.

A manifest states source and licence. files.json states a source and no licence: the licence is unknown then, and the
licence summary says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from trackyard.acquire.files.manifest import NAME as FILES
from trackyard.acquire.files.manifest import SCHEMA as FILES_SCHEMA
from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.record.identity import flatten
from trackyard.record.lineage.dvc_tree import below
from trackyard.record.lineage.links import Hashed, Link
from trackyard.snapshot.manifest import NAME as MANIFEST
from trackyard.snapshot.manifest import SCHEMA as MANIFEST_SCHEMA
from trackyard.snapshot.manifest import Manifest
from trackyard.snapshot.token_shards import SCHEMA as TOKENS_SCHEMA

_DESCRIBED = (MANIFEST_SCHEMA, TOKENS_SCHEMA, FILES_SCHEMA)


def dataset_links(folder: Path, shown: str, listing: Mapping[str, str], fix: str) -> Iterator[Link]:
    """A link for each data set among the files of a folder.

    shown: how the folder is called; listing: md5 by path in it; fix: the command that restores it.
    """
    for path in sorted(listing):
        document = PurePosixPath(path)
        if document.name not in (MANIFEST, FILES):
            continue
        inside = "" if document.parent == PurePosixPath(".") else document.parent.as_posix()
        name = f"snapshot {shown}/{inside}".rstrip("/")
        described = _described(folder / path)
        if described is not None:
            base = folder / inside
            files = tuple(Hashed(path=base / one, algorithm="md5", digest=md5)
                          for one, md5 in sorted(below(listing, inside).items()))  # fmt: skip
            facts = {**described, "files": str(len(files))}
            yield Link(kind="snapshot", name=name, fix=fix, facts=facts, files=files)


def _described(path: Path) -> dict[str, str] | None:
    """What a document says of a data set; None if it is not one of those that describe data."""
    try:
        body: Any = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        # Absent or damaged, which the proof finds: then nobody knows the licence, and the summary says that.
        return {}
    if not isinstance(body, dict) or body.get("schema") not in _DESCRIBED:
        return None
    facts = {
        "dataset": body.get("dataset") or body.get("name"),
        "licence": body.get("licence"),
        "source": source_words(body.get("source")),
        "fingerprint": _fingerprint(path, body["schema"]),
    }
    return {key: str(value) for key, value in facts.items() if value}


def _fingerprint(path: Path, schema: str) -> str | None:
    """What the identity of a run calls the data set: of a snapshot its fingerprint, else the blake3 of the document."""
    if schema != MANIFEST_SCHEMA:
        return digest_file(path)
    try:
        return Manifest.read(path.parent).fingerprint
    except DataError:
        # It does not add up, so it has no fingerprint; the proof stops at its bytes.
        return None


def source_words(source: Any) -> str:
    """Where data come from, in a line: the plain values of a manifest's source, of absolute paths the last part."""
    if not isinstance(source, Mapping):
        return str(source or "")
    plain = {key: value for key, value in flatten(source) if isinstance(value, str | int | float)}
    return " ".join(f"{key}={_local(value)}" for key, value in plain.items())


def _local(value: str | int | float) -> str:
    """Paths of the machine that data came to mean nothing elsewhere."""
    path = PurePosixPath(str(value))
    return f"…/{path.name}" if path.is_absolute() else str(value)

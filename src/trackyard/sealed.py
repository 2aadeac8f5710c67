"""Documents that carry a digest of themselves: a later edit is refused, and not read as if it had been measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.digest import canonical_json, digest_json
from trackyard.errors import DataError
from trackyard.schema import read_document, write_document

SEAL = "digest"


def write_sealed(path: Path, schema: str, body: Mapping[str, Any]) -> None:
    """Write a document with keys in order and its digest. ValueError for NaN and infinities, which are no results."""
    # As it will be read: tuples are lists and keys are text from here on.
    document = json.loads(canonical_json(dict(body)))
    write_document(path, schema, json.loads(canonical_json(document | {SEAL: digest_json(document)})))


def read_sealed(path: Path, schema: str, *, fix: str) -> dict[str, Any]:
    """The body of a document. DataError if it is absent, of another schema, or not what was written."""
    document = read_document(path, schema, fix=fix)
    stated = document.pop(SEAL, None)
    del document["schema"]
    if stated != digest_json(document):
        raise DataError(
            what=f"{path} was altered after it was written",
            why="its numbers are not those that were measured",
            fix=fix,
        )
    return document

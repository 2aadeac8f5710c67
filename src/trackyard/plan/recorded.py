"""What a plan.json states of itself, whichever kind of plan it is: the fingerprint that follows from it, and its files.

Two kinds lie on disks: plans of packs, whose arrays lie beside the document (`trackyard.plan.plan`), and plans that are
one document of a schema of their track (`trackyard.recipes.running.plan_file` writes them).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.plan.plan import DOCUMENT, SCHEMA, fingerprint

FIX = "remove the folder of the plan, then `trackyard run` of its stage: the same inputs give the same plan again"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """fingerprint: as it follows from the content, whatever the document states. files: blake3 of the arrays by name,
    as the document has them."""

    fingerprint: str
    files: Mapping[str, str]


def fingerprint_of(schema: str, plan: Mapping[str, Any]) -> str:
    """blake3 of a plan of one document, with the name of its schema."""
    return digest_json({"schema": schema, **plan})


def recorded_plan(directory: Path) -> Recorded:
    """The plan in a directory. DataError if there is none, or it is of neither kind."""
    path = directory / DOCUMENT
    try:
        document: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            what=f"{path} is no readable plan: {error}", why="it says what was trained on", fix=FIX
        ) from error
    body: dict[str, Any] = document if isinstance(document, dict) else {}
    schema, arrays, plan = body.get("schema"), body.get("files"), body.get("plan")
    if schema == SCHEMA and isinstance(arrays, dict):
        return Recorded(fingerprint=fingerprint(body.get("inputs"), arrays), files=arrays)
    if isinstance(schema, str) and set(body) == {"schema", "fingerprint", "plan"} and isinstance(plan, dict):
        return Recorded(fingerprint=fingerprint_of(schema, plan), files={})
    raise DataError(
        what=f"{path} of schema {schema!r} is neither {SCHEMA} nor a plan of one document",
        why="nobody knows how its fingerprint follows from it",
        fix=FIX,
    )

"""A plan that a run is trained by, as a file below the repository: written once, never changed.

Source: design section 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.digest import short
from trackyard.errors import IdentityError
from trackyard.plan.plan import DOCUMENT
from trackyard.plan.recorded import fingerprint_of
from trackyard.schema import read_document, write_document

PLANS = Path("artifacts") / "plans"


def plan_directory(root: Path, fingerprint: str) -> Path:
    """Where a plan lies below the repository."""
    return root / PLANS / short(fingerprint)


def keep_plan(root: Path, schema: str, plan: Mapping[str, Any]) -> Path:
    """Write a plan unless it is there; returns its directory. IdentityError if what is there is another one."""
    fingerprint = fingerprint_of(schema, plan)
    path = plan_directory(root, fingerprint) / DOCUMENT
    body = {"fingerprint": fingerprint, "plan": dict(plan)}
    if not path.exists():
        write_document(path, schema, body)
    found = read_document(path, schema, fix=f"rm {path}   (the stage then writes it again)")
    if found != {"schema": schema, **body}:
        raise IdentityError(
            what=f"{path} is not the plan {fingerprint}",
            why="it was changed, and no longer says what the runs that name it were trained on",
            fix=f"rm -r {path.parent}   (the stage then writes it again)",
        )
    return path.parent

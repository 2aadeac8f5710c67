"""Which checkpoints stay: the newest few, the best one, and the one that was resumed from. Source: design section 4."""

from __future__ import annotations

import json
import math
from pathlib import Path

from trackyard.train.checkpoint import MANIFEST, complete_checkpoints, delete_checkpoint


def rotate(root: Path, *, keep: int, never: Path | None = None) -> list[Path]:
    """Delete all but the newest `keep` complete checkpoints, the best scored one and `never`; returns what went.

    The caller has verified the newest one: nothing older goes before that. Age is the number of updates, not a clock.
    """
    found = complete_checkpoints(root)
    deleted = []
    best = best_checkpoint(found)
    for path in found[:-keep]:
        if path not in (best, never):
            delete_checkpoint(path)
            deleted.append(path)
    return deleted


def delete_newer(root: Path, than: Path) -> None:
    """Delete what lies beyond a checkpoint that was just verified: the resume passed over it, and it is sound by now.

    Left alone, damaged ones would count as the newest and push sound ones out.
    """
    for path in complete_checkpoints(root):
        if path.name > than.name:
            delete_checkpoint(path)


def best_checkpoint(paths: list[Path]) -> Path | None:
    """The one with the lowest score, the newest of equals; None if none has a score that can be read."""
    scored = [(score, -number) for number, path in enumerate(paths) if (score := _score(path)) is not None]
    return paths[-min(scored)[1]] if scored else None


def _score(path: Path) -> float | None:
    """A damaged manifest has no score: what cannot be loaded is not the best."""
    try:
        score = json.loads((path / MANIFEST).read_bytes())["score"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else None

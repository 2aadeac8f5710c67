"""The checkpoint that a start has to find, worked out without what a start does: every byte of each is hashed.

`trackyard.train.resume` proves only what its rank reads, while it reads it. Both must come to the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trackyard.errors import CheckpointError, DataError
from trackyard.train.checkpoint import Rejected, complete_checkpoints, verify_checkpoint


def newest_valid(root: Path, identity: Mapping[str, str]) -> tuple[Path | None, list[Rejected]]:
    """Newest checkpoint whose every byte is proved, and those newer ones that failed the proof."""
    rejected: list[Rejected] = []
    for path in reversed(complete_checkpoints(root)):
        try:
            verify_checkpoint(path, identity)
        except (CheckpointError, DataError) as error:
            rejected.append(Rejected(path=path, problem=error.what))
            continue
        return path, rejected
    return None, rejected

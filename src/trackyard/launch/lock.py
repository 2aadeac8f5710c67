"""Only one process works on a run directory (reliability F11)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trackyard.exclusive import exclusive

LOCK = ".lock"


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the run directory `path` during the block; a second process is refused at once and told the owner.

    Raises TrackyardError if another process holds it, EnvironmentLacking where it cannot be locked. A run directory
    whose owner died, on this host or another, is simply taken.
    """
    with exclusive(
        path / LOCK,
        what=f"the run directory {path}",
        why="two processes would mix their checkpoints and their metrics",
    ):
        yield

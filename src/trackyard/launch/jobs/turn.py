"""Whose turn it is with DVC: of all jobs of a repository, on whatever nodes, one at a time asks it or commits to it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.leased import Held, leased

LOCK = Path(".dvc") / "tmp" / "trackyard-turn"
WAIT_S = 7200.0
"""Longer than the hashing of a large output by another job takes (hpc spec section 8: 1 TB in 41 minutes)."""
ASK_S = 1.0
"""Mean time between two questions whether the turn has come."""


@contextmanager
def turn(root: Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the one lock of the repository `root` that its jobs share during the block; it is a hard link on a lease.

    TrackyardError naming its owner if it is not free within `wait_s`, EnvironmentLacking where no link can be made.
    """
    path = root / LOCK
    limit = time.monotonic() + wait_s
    with ExitStack() as held:
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(leased(path))
                break
            except Held as owner:
                _require_patience(path, str(owner), limit, wait_s)
            except OSError as error:
                raise EnvironmentLacking(
                    what=f"{path} cannot be locked by a hard link: {error.strerror}",
                    why="jobs commit to DVC one at a time, or one would lose what another one wrote",
                    fix="put the repository on a file system with hard links, writable for you; `trackyard doctor` "
                    "tries this one",
                ) from error
            time.sleep(random.uniform(0.0, 2 * ASK_S))
        yield


def _require_patience(path: Path, owner: str, limit: float, wait_s: float) -> None:
    if time.monotonic() > limit:
        raise TrackyardError(
            what=f"{path} was not free within {wait_s:.0f} s: it is held by {owner}",
            why="jobs commit to DVC one at a time, or one would lose what another one wrote",
            fix="look what that process does; when it has ended: `trackyard retry`",
        )

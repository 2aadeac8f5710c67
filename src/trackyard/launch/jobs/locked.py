"""A stage under DVC's own lock, which is waited for: somebody's `dvc status` must not end a job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.launch.jobs.dvc_stages import opened, stages_of
from trackyard.launch.jobs.turn import WAIT_S

if TYPE_CHECKING:
    from dvc.stage import Stage

PATIENCE_S = WAIT_S
"""How long a command of DVC that somebody gave may hold the lock: `dvc push` does to its end (DVC itself waits 3 s)."""


@contextmanager
def locked_stage(root: Path, address: str, *, patience_s: float = PATIENCE_S) -> Iterator[Stage]:
    """The one stage at an address. TrackyardError where DVC's lock is not free in time, ConfigError for no stage."""
    from dvc.lock import LockError
    from dvc.repo import lock_repo

    limit = time.monotonic() + patience_s
    with opened(root) as repo, ExitStack() as lock:
        while True:
            try:
                lock.enter_context(lock_repo(repo))
                break
            except LockError:
                if time.monotonic() > limit:
                    raise
        (found,) = stages_of(repo, root, address)
        yield found

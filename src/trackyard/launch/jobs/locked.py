"""What is read or done under DVC's own lock, which is waited for: somebody's `dvc status` must not end a job.

DVC rewrites dvc.lock in place, so that whoever reads stages beside a `dvc commit` may read half of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.errors import TrackyardError
from trackyard.launch.jobs.dvc_stages import one_line, opened, stages_of
from trackyard.launch.jobs.turn import WAIT_S

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

PATIENCE_S = WAIT_S
"""How long a command of DVC that somebody gave may hold the lock: `dvc push` does to its end (DVC itself waits 3 s)."""


@contextmanager
def waited_lock(repo: Repo, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """DVC's lock of the repository; LockError where it is not free in time."""
    from dvc.lock import LockError
    from dvc.repo import lock_repo

    limit = time.monotonic() + patience_s
    with ExitStack() as lock:
        while True:
            try:
                lock.enter_context(lock_repo(repo))
                break
            except LockError:
                if time.monotonic() > limit:
                    raise
        yield


@contextmanager
def locked_stage(root: Path, address: str, *, patience_s: float = PATIENCE_S) -> Iterator[Stage]:
    """The one stage at an address. ConfigError for no stage, TrackyardError where DVC's lock is not free in time, or
    where DVC fails during the block.
    """
    from dvc.exceptions import DvcException

    with opened(root) as repo, waited_lock(repo, patience_s=patience_s):
        (found,) = stages_of(repo, root, address)
        try:
            yield found
        except DvcException as error:
            raise TrackyardError(
                what=f"DVC failed with the files of {address}: {one_line(error)}",
                why="a stage runs when its old outputs are out of the way, and is done when DVC finds it up to date",
                fix=f"mend what it names, look with `dvc status {address}`, then `trackyard retry`",
            ) from error

"""The output of a job, over all its lives: its log file is appended to when it is requeued."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trackyard.errors import TrackyardError
from trackyard.launch.jobs.following import OPEN, UNKNOWN, current_id, status
from trackyard.launch.jobs.store import Kept
from trackyard.launch.jobs.waiting import PATIENCE_S, unheard
from trackyard.launch.slurm.client import SlurmClient

POLL_S = 1.0
ASK_S = 30.0
"""Time between two questions to Slurm; the record that a job writes at its end is looked for more often."""


def newest(kept: Kept) -> str:
    """The job that has written last. TrackyardError where none has."""
    written = [(path.stat().st_mtime, job.name) for job in kept.graph.jobs if (path := kept.log(job.name)).is_file()]
    if not written:
        raise no_log(kept, None)
    return max(written)[1]


def lines(path: Path, over: Callable[[], bool], *, sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Whole lines of a log as they come, until `over()` and nothing more has come. The file may not be there yet."""
    position, rest = 0, b""
    while True:
        last = over()
        if path.is_file():
            with open(path, "rb") as handle:
                handle.seek(position)
                for part in handle:
                    position += len(part)
                    rest += part
                    if rest.endswith(b"\n"):
                        yield rest.decode(errors="replace")
                        rest = b""
        if last:
            if rest:
                yield rest.decode(errors="replace")
            return
        sleep(POLL_S)


def over(
    kept: Kept, client: SlurmClient, job: str, *, clock: Callable[[], float] = time.monotonic
) -> Callable[[], bool]:
    """Whether a job has ended, to be asked often: Slurm hears of it seldom.

    EnvironmentLacking when Slurm has said nothing of it for PATIENCE_S, and it left no record. clock: seconds.
    """
    asked, heard = float("-inf"), None

    def ended() -> bool:
        nonlocal asked, heard
        record = kept.ended(job)
        if record is not None and record.slurm_id == current_id(kept, job):
            return True
        now = clock()
        if now < asked + ASK_S:
            return False
        state = next(one for one in status(kept, client) if one.name == job).state
        if state != UNKNOWN or heard is None:
            heard = now  # patience begins with the first question
        if now > heard + PATIENCE_S:
            raise unheard(kept, [job], PATIENCE_S)
        asked = now
        return state not in OPEN

    return ended


def no_log(kept: Kept, job: str | None) -> TrackyardError:
    """There is nothing to show."""
    return TrackyardError(
        what=f"{job or 'no job'} of graph {kept.graph.id} has {'no' if job else 'a'} log yet",
        why="Slurm makes it when the job starts",
        fix=f"trackyard status {kept.graph.id}",
    )

"""A graph is waited for until each of its jobs has ended: Slurm is asked ever less often, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from trackyard.errors import EnvironmentLacking
from trackyard.launch.jobs.following import ALIVE, OPEN, JobStatus, status
from trackyard.launch.jobs.store import Kept
from trackyard.launch.slurm.client import SlurmClient
from trackyard.launch.slurm.patience import waits

PATIENCE_S = 900.0
"""How long a graph is waited for of which Slurm knows no job that is alive."""


def wait(
    kept: Kept,
    client: SlurmClient,
    *,
    told: Callable[[list[JobStatus]], None],
    sleep: Callable[[float], None] = time.sleep,
    patience_s: float = PATIENCE_S,
) -> list[JobStatus]:
    """How the jobs stand when all have ended; told: of every change. EnvironmentLacking if unknown ones are left."""
    earlier: list[tuple[str, str]] = []
    pauses, silent_s = waits(), 0.0
    while True:
        found = status(kept, client)
        now = [(job.name, job.state) for job in found]
        if now != earlier:
            told(found)
            earlier, pauses, silent_s = now, waits(), 0.0
        if not any(job.state in OPEN for job in found):
            return found
        if not any(job.state in ALIVE for job in found) and silent_s > patience_s:
            raise unheard(kept, [job.name for job in found if job.state in OPEN], patience_s)
        pause = next(pauses)
        silent_s += pause
        sleep(pause)


def unheard(kept: Kept, names: Sequence[str], patience_s: float) -> EnvironmentLacking:
    """Nobody knows what has become of the jobs `names`, after so many seconds."""
    return EnvironmentLacking(
        what=f"Slurm says nothing of {', '.join(names)} for {patience_s:.0f} s, and there is no record of their end",
        why="unknown is neither failed nor done: they may still run",
        fix=f"look at `trackyard logs {kept.graph.id} {names[0]}`; to end it for certain: "
        f"`trackyard cancel {kept.graph.id} {names[0]}`; then `{kept.graph.again}` begins it anew",
    )

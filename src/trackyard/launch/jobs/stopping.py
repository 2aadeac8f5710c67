"""Jobs of one graph are cancelled: what is still alive, and nothing of another graph."""

from __future__ import annotations

from collections.abc import Collection

from trackyard.errors import ConfigError
from trackyard.launch.jobs.adopting import adopt, in_doubt
from trackyard.launch.jobs.following import CANCELLED, OPEN, JobStatus, status
from trackyard.launch.jobs.store import Kept
from trackyard.launch.jobs.turn import turn
from trackyard.launch.slurm.client import SlurmClient


def cancel(kept: Kept, client: SlurmClient, names: Collection[str] = ()) -> list[JobStatus]:
    """Cancel the jobs `names`, or all of a graph, that have not ended; returns how those stood.

    Those of a submission that was cut off are found by their names. What waits for them is cancelled by Slurm.
    ConfigError for a name that is none of the graph.
    """
    require_names(kept, names)
    if in_doubt(kept):
        with turn(kept.root):
            adopt(kept, client)
    found = [job for job in status(kept, client) if job.state in OPEN and (not names or job.name in names)]
    note_cancelled(kept, client, found)
    return found


def note_cancelled(kept: Kept, client: SlurmClient, jobs: Collection[JobStatus]) -> None:
    """Ask Slurm to end `jobs`, and then write down that we did: a note before would tell of what may not have been."""
    ids = {job.name: job.slurm_id for job in jobs if job.slurm_id is not None}
    if not ids:
        return
    client.cancel(list(ids.values()))
    for name, slurm_id in ids.items():
        kept.note_attempt(name, event=CANCELLED, slurm_id=slurm_id)


def require_names(kept: Kept, names: Collection[str]) -> None:
    """ConfigError for a name that is no job of the graph."""
    there = [job.name for job in kept.graph.jobs]
    for name in names:
        if name not in there:
            raise ConfigError(
                what=f"graph {kept.graph.id} has no job {name!r}",
                why=f"it has {', '.join(there)}",
                fix=f"trackyard status {kept.graph.id}",
            )

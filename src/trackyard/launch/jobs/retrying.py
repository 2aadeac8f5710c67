"""What failed, was cancelled or never submitted is submitted once more, with what waited for it; nothing runs twice."""

from __future__ import annotations

from collections.abc import Collection

from trackyard.errors import ConfigError
from trackyard.exclusive import exclusive
from trackyard.launch.jobs.following import ALIVE, GOOD, OPEN, JobStatus, status
from trackyard.launch.jobs.stopping import note_cancelled, require_names
from trackyard.launch.jobs.store import Kept
from trackyard.launch.jobs.submitting import submit
from trackyard.launch.sites import Site
from trackyard.launch.slurm.client import SlurmClient


def retry(kept: Kept, client: SlurmClient, site: Site, names: Collection[str] = ()) -> dict[str, str]:
    """Submit the jobs that ended badly, or those of `names`, with all that waits for them; returns their new Slurm ids.

    A job that Slurm says nothing of may still run: it is submitted anew only if it is named, after it was cancelled.
    ConfigError for a name that is none of the graph, or of a job that is done or alive; TrackyardError while another
    retry of the graph is at it.
    """
    require_names(kept, names)
    lock, why = kept.path / ".retry.lock", "both would submit the same jobs"
    with exclusive(lock, what=f"`trackyard retry {kept.graph.id}`", why=why):
        found = {job.name: job for job in status(kept, client)}
        for name in names:
            _require_over(kept, found[name])
        begun = set(names) or {name for name, job in found.items() if job.is_bad}
        again = _with_dependants(kept, begun, found)
        # One that waits in vain, or is not heard of, would run beside its successor if Slurm let it go after all.
        left = [found[name] for name in again if found[name].state in OPEN or found[name].failed_ancestor]
        note_cancelled(kept, client, left)
        return submit(kept, client, site, only=again) if again else {}


def _with_dependants(kept: Kept, begun: set[str], found: dict[str, JobStatus]) -> list[str]:
    """`begun` and what comes after them and has not succeeded, in the order of the graph."""
    again: list[str] = []
    for job in kept.graph.jobs:
        follows = any(name in again for name in job.after) and found[job.name].state not in GOOD
        if job.name in begun or follows:
            again.append(job.name)
    return again


def _require_over(kept: Kept, job: JobStatus) -> None:
    if job.state in GOOD:
        raise ConfigError(
            what=f"{job.name} is {job.state}",
            why="its outputs are committed",
            fix=f"to make them once more: `trackyard submit --force {job.stage}`",
        )
    if job.state in ALIVE:
        raise ConfigError(
            what=f"{job.name} is {job.state}",
            why="two jobs would work on one stage",
            fix=f"trackyard cancel {kept.graph.id} {job.name}, then the same command again",
        )

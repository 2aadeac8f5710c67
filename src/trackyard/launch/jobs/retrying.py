"""What failed, was cancelled or never submitted is submitted once more, with what waited for it; nothing runs twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from trackyard.errors import ConfigError
from trackyard.launch.jobs.adopting import adopt
from trackyard.launch.jobs.following import ALIVE, GOOD, OPEN, JobStatus, status
from trackyard.launch.jobs.inputs import require_jobs_same
from trackyard.launch.jobs.stopping import note_cancelled, require_names
from trackyard.launch.jobs.store import Kept
from trackyard.launch.jobs.submitting import submit
from trackyard.launch.jobs.turn import turn
from trackyard.launch.sites import Site
from trackyard.launch.slurm.client import SlurmClient


def retry(kept: Kept, client: SlurmClient, site: Site, names: Collection[str] = ()) -> dict[str, str]:
    """Submit the jobs that ended badly, or those of `names`, with all that waits for them; returns their new Slurm ids.

    A job that Slurm says nothing of may still run: it is submitted anew only if it is named, after it was cancelled.
    ConfigError for a name that is none of the graph, or of a job that is done or alive, or waits for one that failed,
    and for the graph of a `dvc repro`; TrackyardError where inputs are no longer those of the submission: nothing is
    submitted then.
    """
    require_names(kept, names)
    _require_commits(kept)
    # Digests of large inputs take long; nobody waits for them.
    _require_same_inputs(kept, _again(kept, names, _now(kept, client)))
    with turn(kept.root):
        # Or a script with other tasks of an array would be found by its name, and noted as if it had these.
        adopt(kept, client)
        # Whoever submitted jobs of this graph meanwhile, has.
        found = _now(kept, client)
        again = _again(kept, names, found)
        # One that waits in vain, or is not heard of, would run beside its successor if Slurm let it go after all.
        left = [found[name] for name in again if found[name].state in OPEN or found[name].failed_ancestor]
        note_cancelled(kept, client, left)
        return submit(kept, client, site, only=again) if again else {}


def _now(kept: Kept, client: SlurmClient) -> dict[str, JobStatus]:
    return {job.name: job for job in status(kept, client)}


def _again(kept: Kept, names: Collection[str], found: Mapping[str, JobStatus]) -> list[str]:
    for name in names:
        _require_over(kept, found[name])
    begun = set(names) or {name for name, job in found.items() if job.is_bad}
    return _with_dependants(kept, begun, found)


def _require_commits(kept: Kept) -> None:
    if kept.graph.awaited:
        raise ConfigError(
            what=f"graph {kept.graph.id} is the job of a `dvc repro`",
            why="DVC commits what its own command waited for; of this job alone nobody would",
            fix=kept.graph.again,
        )


def _require_same_inputs(kept: Kept, names: Collection[str]) -> None:
    """As each of these jobs does when it starts, which is hours later."""
    jobs = [job for job in kept.graph.jobs if job.name in names and job.inputs]
    if jobs:
        require_jobs_same(kept.root, jobs)


def _with_dependants(kept: Kept, begun: set[str], found: Mapping[str, JobStatus]) -> list[str]:
    """`begun` and what comes after them and has not succeeded, in the order of the graph; not what waits in vain."""
    again: list[str] = []
    for job in kept.graph.jobs:
        dead = [name for name in job.after if found[name].is_bad and name not in again]
        if dead and job.name in begun:
            raise ConfigError(
                what=f"{job.name} waits for {dead[0]}, which is {found[dead[0]].state}",
                why="Slurm would cancel it at once",
                fix=kept.graph.again,
            )
        follows = not dead and any(name in again for name in job.after) and found[job.name].state not in GOOD
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

"""A graph goes to Slurm: one batch script for each job or array, in the order in which they wait for each other.

Each answer is noted before the next question. A submission that was cut off is finished by another one: what was noted
is not submitted again, and what was accepted but not noted is found by the name of its job (`SlurmClient.submit`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from trackyard.crash import crash_point
from trackyard.durable import write_atomic
from trackyard.errors import ConfigError, TrackyardError
from trackyard.launch.jobs.from_dvc import Wanted, stale_graph
from trackyard.launch.jobs.graph import Graph, Job
from trackyard.launch.jobs.overlap import require_disjoint
from trackyard.launch.jobs.store import SCRIPT, Kept, graphs, new_graph
from trackyard.launch.jobs.turn import turn
from trackyard.launch.sites import Need, Site
from trackyard.launch.slurm.batch import BatchJob
from trackyard.launch.slurm.client import SlurmClient
from trackyard.launch.slurm.exports import job_exports
from trackyard.launch.slurm.script import render
from trackyard.runner import Runner


def submit_stale(
    root: Path,
    wanted: Wanted,
    client: SlurmClient,
    site: Site,
    *,
    approve: Callable[[Graph], None],
    environment: Mapping[str, str] | None = None,
    runner: Runner | None = None,
) -> Kept | None:
    """Make the graph of what is stale, and submit it; None where all is up to date.

    No job commits, and nobody else submits, between the look at what is stale and the last submission. Raises what
    `stale_graph`, `approve` of its graph and `submit` do; nothing was submitted if it is the first or the second.
    """
    environment = os.environ if environment is None else environment
    with turn(root):
        graph = stale_graph(root, wanted, site, environment=environment, runner=runner)
        if not graph.jobs:
            return None
        approve(graph)
        require_disjoint(graph, graphs(root), client)
        kept = new_graph(root, graph)
        crash_point("before-the-first-submission")
        try:
            _submit(kept, client, site, _never_submitted(kept), environment)
        except TrackyardError as error:
            raise type(error)(
                what=error.what,
                why=f"{error.why}; graph {graph.id} is kept, and what of it was accepted runs",
                fix=f"{error.fix}; then `trackyard retry {graph.id}` goes on, `trackyard cancel {graph.id}` ends it",
            ) from error
    return kept


def submit(
    kept: Kept,
    client: SlurmClient,
    site: Site,
    *,
    only: Collection[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Submit jobs of a graph that is kept, and return their Slurm ids by name. The caller holds `turn`.

    only: names, submitted whether they were before or not; None: those that never were. TrackyardError where another
    graph is in the way, or Slurm refuses; what was accepted before is noted.
    """
    environment = os.environ if environment is None else environment
    require_disjoint(kept.graph, graphs(kept.root), client)
    return _submit(kept, client, site, _never_submitted(kept) if only is None else set(only), environment)


def _submit(
    kept: Kept, client: SlurmClient, site: Site, names: Collection[str], environment: Mapping[str, str]
) -> dict[str, str]:
    ids: dict[str, str] = {}
    for unit, members in units(kept.graph).items():
        chosen = [job for job in members if job.name in names]
        if not chosen:
            continue
        batch = batch_job(kept, unit, chosen, _after(kept, chosen[0], ids), site, environment)
        script = kept.folder(unit) / SCRIPT
        write_atomic(script, render(batch))
        try:
            slurm_id = client.submit(script)
        except ConfigError:
            # Slurm has refused it, so nothing of this name was submitted. A script that stays is in doubt.
            script.unlink()
            raise
        crash_point("between-submission-and-note")
        kept.note_submitted(unit, slurm_id, None if batch.array is None else [_index(job) for job in chosen])
        crash_point("between-two-submissions")
        ids |= {job.name: str(kept.submissions(job.name)[-1]["slurm_id"]) for job in chosen}
    return ids


def units(graph: Graph) -> dict[str, list[Job]]:
    """Jobs by what is submitted at once: a job alone, or an array. All tasks of an array wait for the same jobs."""
    found: dict[str, list[Job]] = {}
    for job in graph.jobs:
        found.setdefault(job.array or job.name, []).append(job)
    return found


def batch_job(
    kept: Kept,
    unit: str,
    chosen: Sequence[Job],
    after: Sequence[str],
    site: Site,
    environment: Mapping[str, str],
) -> BatchJob:
    """A job, or tasks of an array, as sbatch takes them. after: Slurm ids of those that must have succeeded."""
    first = chosen[0]
    need: Need = first.needs  # type: ignore[assignment]
    # sbatch takes % in a name of a file for the beginning of a pattern.
    folder = Path(str(kept.folder(unit)).replace("%", "%%"))
    array, name = None, kept.log(first.name).name
    if first.array is not None:
        most = site.jobs.array_at_once
        array = ",".join(str(_index(job)) for job in chosen) + ("" if most is None else f"%{most}")
        name = "log-%a.txt"
    return BatchJob(
        # What was not noted has the same number when it is submitted again, and is found by it.
        name=f"{kept.graph.id}.{unit}.{kept.times_submitted(unit) + 1}",
        request=first.request,
        command=(sys.executable, "-m", "trackyard", "work", kept.graph.id, unit),
        cwd=kept.root,
        output=folder / name,
        lead_s=site.jobs.signal_lead_s,
        after=tuple(after),
        array=array,
        exports=job_exports(site, need, environment=environment),
        modules=site.modules,
        options=tuple(site.sbatch.items()),
    )


def _never_submitted(kept: Kept) -> set[str]:
    return {job.name for job in kept.graph.jobs if not kept.submissions(job.name)}


def _after(kept: Kept, job: Job, ids: Mapping[str, str]) -> list[str]:
    """Slurm ids that a job waits for: arrays as a whole where it waits for all of their tasks that count.

    What has succeeded is waited for no more: Slurm forgets ids after some minutes, and refuses those it has forgotten.
    """
    waited: dict[str, str] = {}
    for name in job.after:
        ended = kept.ended(name)
        earlier = kept.submissions(name)
        if name in ids:
            waited[name] = ids[name]
        elif ended is not None and ended.well:
            continue
        elif earlier:
            waited[name] = str(earlier[-1]["slurm_id"])
        else:
            raise ConfigError(
                what=f"{job.name} waits for {name}, which was never submitted",
                why="it would begin without what it needs",
                fix=f"trackyard retry {kept.graph.id}   (without names it takes all that did not end well)",
            )
    return _merged(kept.graph, waited)


def _merged(graph: Graph, waited: Mapping[str, str]) -> list[str]:
    """Ids by name, with ID in place of every ID_INDEX of an array that all tasks of are waited for under."""
    found: dict[str, None] = {}
    for members in units(graph).values():
        own = [waited[job.name] for job in members if job.name in waited]
        bases = {one.partition("_")[0] for one in own}
        whole = len(own) == len(members) and len(bases) == 1 and members[0].array is not None
        found |= dict.fromkeys(bases if whole else own)
    return list(found)


def _index(job: Job) -> int:
    if job.index is None:
        raise ValueError(f"{job.name} is no task of an array")
    return job.index

"""One life of a job: from its start, or its restart by Slurm, to its end. The batch environment says which it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.jobs.graph import Graph, Job
from trackyard.launch.jobs.store import Kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """slurm_id: of the job, or ID_INDEX of the task of an array. number: from 1. nodes: as Slurm lists them."""

    slurm_id: str
    number: int
    nodes: str


def this_life(environment: Mapping[str, str]) -> Life:
    """What Slurm says of the batch process that asks; EnvironmentLacking outside of a batch job."""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    job = environment.get("SLURM_JOB_ID")
    if not job:
        raise EnvironmentLacking(
            what="SLURM_JOB_ID is not set",
            why="`trackyard work` is what batch jobs execute, which `trackyard submit` makes",
            fix="trackyard submit TARGET, or trackyard retry GRAPH",
        )
    return Life(
        slurm_id=f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}" if array else job,
        # Unset in the first life (hpc spec section 4.2).
        number=1 + int(environment.get("SLURM_RESTART_COUNT") or 0),
        nodes=environment.get("SLURM_JOB_NODELIST", ""),
    )


def job_of(graph: Graph, name: str, environment: Mapping[str, str]) -> Job:
    """The job `name`, or of the array of that name the one that this task is; ConfigError if there is none."""
    index = environment.get("SLURM_ARRAY_TASK_ID")
    for job in graph.jobs:
        if (job.array is None and job.name == name) or (job.array == name and index == str(job.index)):
            return job
    there = sorted({job.array or job.name for job in graph.jobs})
    raise ConfigError(
        what=f"graph {graph.id} has no job {name!r}" + ("" if index is None else f" with index {index}"),
        why=f"it has {', '.join(there)}",
        fix=f"trackyard status {graph.id}",
    )


def require_newest(kept: Kept, job: Job, life: Life, environment: Mapping[str, str]) -> None:
    """TrackyardError where a later submission of `job` was noted, or another one under the number of this one.

    What is not noted yet carries a higher number in its name than any that is: its submitter comes to that later.
    """
    # In this order: a note that is written in between is found by what is read last.
    times = kept.times_submitted(job.array or job.name)
    noted = [str(line["slurm_id"]) for line in kept.submissions(job.name)]
    if not noted or life.slurm_id == noted[-1]:
        return
    number = environment.get("SLURM_JOB_NAME", "").rpartition(".")[2]
    if life.slurm_id in noted or not number.isdigit() or int(number) <= times:
        raise TrackyardError(
            what=f"job {life.slurm_id} is not the newest of {kept.graph.id}/{job.name}, which is {noted[-1]}",
            why="both would work on one stage at once",
            fix=f"scancel {life.slurm_id}   (`trackyard status {kept.graph.id}` tells of the newest)",
        )

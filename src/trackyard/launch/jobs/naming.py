"""What jobs are called, whom they wait for, and which of them are tasks of one array.

Items of a matrix are one array where they ask for the same and wait for the same jobs: Slurm knows one size, and one
list of what to wait for, of all tasks. Others are jobs of their own, so that each waits for no more than it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from trackyard.launch.jobs.graph import Job


def job_name(address: str) -> str:
    """For the stage at an address: safe as a file name and as a name in Slurm."""
    path, _, name = address.rpartition(":")
    track = path.removesuffix("/dvc.yaml").removeprefix("pipelines/")
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{track}-{name}" if track else name).strip("-.") or "stage"


def unique(name: str, taken: Iterable[str]) -> str:
    """`name`, with a number behind it if it is taken."""
    number, one, others = 1, name, set(taken)
    while one in others:
        number += 1
        one = f"{name}-{number}"
    return one


def shortened(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, each waiting only for those that no other that it waits for waits for. jobs: in their order."""
    behind: dict[str, set[str]] = {}
    found = []
    for job in jobs:
        further: set[str] = set().union(*(behind[name] for name in job.after))
        behind[job.name] = further | set(job.after)
        found.append(replace(job, after=tuple(name for name in job.after if name not in further)))
    return found


def in_arrays(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """The same jobs; items of a matrix that are equal but for their item are tasks of an array."""
    alike: dict[object, list[str]] = {}
    for job in jobs:
        matrix, at, _ = job.stage.partition("@")
        if at and job.array is None:
            alike.setdefault((matrix, job.request, job.after), []).append(job.name)
    taken = {name for job in jobs for name in (job.name, job.array) if name is not None}
    places: dict[str, tuple[str, int]] = {}
    stage_of = {job.name: job.stage for job in jobs}
    for names in alike.values():
        if len(names) > 1:
            array = unique(job_name(stage_of[names[0]].partition("@")[0]), taken)
            taken.add(array)
            places |= {name: (array, index) for index, name in enumerate(names)}
    return tuple(
        replace(job, array=places[job.name][0], index=places[job.name][1]) if job.name in places else job
        for job in jobs
    )

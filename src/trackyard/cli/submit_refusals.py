"""What a submission is refused for by its estimates: ranks that a plan does not divide over, chains that cannot end.

An estimate that is merely unknown, or that breaks another limit, refuses nothing. Source: hpc spec section 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.cli.submit_estimates import Estimates, JobEstimate, is_estimated, planned_work
from trackyard.errors import ConfigError, TrackyardError

if TYPE_CHECKING:
    from trackyard.launch.jobs.graph import Job
    from trackyard.launch.sites import Site


def refusals(root: Path, site: Site, jobs: Iterable[Job], found: Estimates, profile: str | None) -> list[ConfigError]:
    """One for each job or array that could not end well. profile: in place of the parameters in force."""
    told: dict[str, ConfigError] = {}
    for job in jobs:
        unit = job.array or job.name
        if unit in told:
            continue
        one = found[job.name]
        refused = _endless(site, job, one) if isinstance(one, JobEstimate) else _undivided(root, site, job, profile)
        if refused is not None:
            told[unit] = refused
    return list(told.values())


def _endless(site: Site, job: Job, estimate: JobEstimate) -> ConfigError | None:
    # Whole jobs, without what each loses at its start and for its save: less than this it cannot take.
    if math.ceil(estimate.hours * 60 / job.request.minutes) <= site.jobs.attempts:
        return None
    return ConfigError(
        what=f"{job.stage} takes {estimate.lives} lives of {job.request.minutes / 60:g} h, and site {site.name} gives "
        f"a job {site.jobs.attempts}",
        why=f"it would be given up before its end, {estimate.hours:,.0f} h of training are estimated",
        fix=f"write `attempts: {estimate.lives + estimate.lives // 4 + 1}` under `jobs:` of sites/{site.name}.yaml "
        "(a quarter more than estimated), or ask for more or faster GPUs: shapes.train there, or --partition",
    )


def _undivided(root: Path, site: Site, job: Job, profile: str | None) -> ConfigError | None:
    """None unless the number of ranks is what the plan refuses: on fewer it must hold."""
    from trackyard.recipes.stages import profile_path

    track, stage = job.command[2:4] if len(job.command) > 3 else ("", "")
    request = job.request
    if request.ranks == 1 or not is_estimated(track, stage):
        return None
    path = profile_path(root, profile)

    def refusal(ranks: int) -> TrackyardError | None:
        try:
            planned_work(root, site, request, track, stage, path, ranks=ranks)
        except TrackyardError as error:
            return error
        return None

    refused = refusal(request.ranks)
    if refused is None:
        return None
    sizes = [(nodes, tasks) for nodes in range(request.nodes, 0, -1) for tasks in range(request.tasks_per_node, 0, -1)]
    fewer = sorted((one for one in sizes if one[0] * one[1] < request.ranks), key=lambda one: -one[0] * one[1])
    possible = next((one for one in fewer if refusal(one[0] * one[1]) is None), None)
    if possible is None:
        return None
    nodes, tasks = possible
    return ConfigError(
        what=f"{job.stage} cannot be done by {request.ranks} ranks, of {path.name}: {refused.what}",
        why=f"that is what shapes.train of site {site.name} starts, and the job would fail at its start, after it has "
        "waited in the queue",
        fix=f"ask for fewer: `nodes: {nodes}, tasks_per_node: {tasks}, gpus_per_node: {tasks}` in shapes.train of "
        f"sites/{site.name}.yaml; or put the mapping `{track}:` of another profile into params.yaml: "
        f"`trackyard params {track} --profile NAME` prints it",
    )

"""One stage as one job that is waited for: what `dvc repro` at a site with a scheduler comes down to.

DVC itself holds the stage and commits it when the command has ended, so the job does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from trackyard.errors import TrackyardError
from trackyard.launch.jobs.dvc_stages import address, in_order, is_made, opened, stages_of
from trackyard.launch.jobs.following import JobStatus, status
from trackyard.launch.jobs.graph import Graph, Job
from trackyard.launch.jobs.locked import waited_lock
from trackyard.launch.jobs.logs import lines, over
from trackyard.launch.jobs.overlap import require_disjoint
from trackyard.launch.jobs.stopping import cancel
from trackyard.launch.jobs.store import Kept, fresh_id, graphs, new_graph
from trackyard.launch.jobs.submitting import submit
from trackyard.launch.jobs.turn import turn
from trackyard.launch.requests import request_for
from trackyard.launch.signals import stop_interrupt
from trackyard.launch.sites import Site
from trackyard.launch.slurm.client import SlurmClient
from trackyard.launch.stage_needs import StageNeed
from trackyard.record.code import code_identity
from trackyard.runner import Runner

NAME = "stage"
"""Of the only job."""


def run_as_job(
    root: Path,
    site: Site,
    stage: StageNeed,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    runner: Runner,
    say: Callable[[str], None],
) -> int:
    """Submit `command`, show what it prints, and return its exit code when it has ended.

    An interrupt or a stop signal cancels the job. TrackyardError where it ended without a record of its own.
    """
    request = request_for(site, stage.needs, environment=environment, stage=stage.address)
    job = Job(
        name=NAME,
        stage=stage.address,
        command=tuple(command),
        needs=stage.needs,
        reason="forced",
        detail="asked for by dvc repro",
        request=request,
        after=(),
        array=None,
        index=None,
        commits=False,
        inputs={},
    )
    graph = Graph(
        id=fresh_id(stage.address),
        site=site.name,
        targets=(stage.address,),
        created=datetime.now(UTC).isoformat(),
        commit=code_identity(root, runner, environment).commit,
        jobs=(job,),
        upstream=_upstream(root, stage.address),
    )
    kept, client = Kept(root=root, graph=graph), SlurmClient(runner)
    try:
        with stop_interrupt():
            with turn(root):
                # What is refused leaves no graph: it would be the newest, which commands without a name mean.
                require_disjoint(graph, graphs(root), client)
                new_graph(root, graph)
                slurm_id = submit(kept, client, site)[NAME]
            say(f"job       {graph.id} is {slurm_id} in partition {request.partition}; trackyard status {graph.id}")
            _show(kept, client, say)
    except KeyboardInterrupt:
        cancel(kept, client)
        raise
    return _end(kept, _now(kept, client))


def _upstream(root: Path, stage: str) -> tuple[str, ...]:
    """Addresses of the stages that this one is made from, itself included: no other graph may make one meanwhile."""
    with opened(root) as repo, waited_lock(repo):
        stages, _ = in_order(repo, stages_of(repo, root, stage))
        return tuple(address(one) for one in stages if is_made(one))


def _show(kept: Kept, client: SlurmClient, say: Callable[[str], None]) -> None:
    """Print the job's output until it has ended."""
    for line in lines(kept.log(NAME), over(kept, client, NAME)):
        say(line.rstrip("\n"))


def _now(kept: Kept, client: SlurmClient) -> JobStatus:
    return status(kept, client)[0]


def _end(kept: Kept, found: JobStatus) -> int:
    ended = kept.ended(NAME)
    if ended is not None:
        return ended.exit_code
    raise TrackyardError(
        what=f"the job {found.slurm_id} of stage {found.stage} ended as {found.state}: {found.detail}",
        why="it left no record of its end, so its outputs are not to be trusted",
        fix=f"trackyard logs {kept.graph.id}, mend what it says, then the same command again",
    )

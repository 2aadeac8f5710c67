"""`trackyard status`, `logs`, `cancel`, `retry`: jobs that `trackyard submit` made; `work` is what they execute."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.printing import print_json
from trackyard.cli.root import repository_root
from trackyard.errors import EXIT_FAILED

if TYPE_CHECKING:
    from trackyard.launch.jobs.following import JobStatus
    from trackyard.launch.jobs.store import Kept
    from trackyard.launch.slurm.client import SlurmClient

Graph = Annotated[str | None, typer.Argument(help="id of a graph, or its beginning; the newest")]
Jobs = Annotated[list[str] | None, typer.Argument(help="names of jobs; all")]

STATUS_SCHEMA = "trackyard-jobs-status/1"


def status(
    graph: Graph = None,
    wait: Annotated[bool, typer.Option("--wait", help="until every job has ended")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Tell how every job of a graph stands, and why. Exit code 1 if one has failed; unknown is not failed."""
    from trackyard.launch.jobs.following import status as status_of
    from trackyard.launch.jobs.waiting import wait as wait_for

    kept, client = _opened(graph)
    if wait:
        found = wait_for(kept, client, told=_tell)
    else:
        found = status_of(kept, client)
    if as_json:
        print_json({"schema": STATUS_SCHEMA, "graph": kept.graph.id, "site": kept.graph.site, "jobs": found})
    else:
        _print(kept, found)
    if any(job.is_bad for job in found):
        raise typer.Exit(EXIT_FAILED)


def logs(
    graph: Annotated[str | None, typer.Argument(help="id of a graph or its beginning, or a job of the newest")] = None,
    job: Annotated[str | None, typer.Argument(help="name of a job; the one that has written last")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until the job has ended")] = False,
) -> None:
    """Print the output of a job, over all its lives."""
    from trackyard.launch.jobs.logs import lines, newest, no_log
    from trackyard.launch.jobs.logs import over as over_of
    from trackyard.launch.jobs.stopping import require_names

    kept, client, job = _of_job(graph, job)
    name = job or newest(kept)
    require_names(kept, [name])
    path = kept.log(name)
    for line in lines(path, over_of(kept, client, name) if follow else lambda: True):
        sys.stdout.write(line)
        sys.stdout.flush()
    if not path.is_file():
        raise no_log(kept, name)


def cancel(graph: Graph = None, jobs: Jobs = None) -> None:
    """Cancel the jobs of a graph that have not ended, or those that are named; jobs that wait for them end too."""
    from trackyard.launch.jobs.stopping import cancel as cancel_jobs

    kept, client = _opened(graph)
    found = cancel_jobs(kept, client, jobs or ())
    for job in found:
        print(f"cancelled {job.name}, which was {job.state}")
    if not found:
        print(f"nothing to cancel: no job of {kept.graph.id} is alive")


def retry(graph: Graph = None, jobs: Jobs = None) -> None:
    """Submit once more what failed, was cancelled or never submitted, and what waited for it."""
    from trackyard.launch.jobs.retrying import retry as retry_jobs
    from trackyard.launch.sites import load_site

    kept, client = _opened(graph)
    made = retry_jobs(kept, client, load_site(kept.graph.site, kept.root), jobs or ())
    for name, slurm_id in made.items():
        print(f"submitted {name} as {slurm_id}")
    if not made:
        print(f"nothing to retry: no job of {kept.graph.id} has failed")


def work(
    graph: Annotated[str, typer.Argument(help="id of a graph")],
    name: Annotated[str, typer.Argument(help="a job of it, or an array")],
) -> None:
    """What a batch job executes: run its stage, and commit it."""
    from trackyard.launch.jobs.working import work as live

    raise typer.Exit(live(repository_root(), graph, name, say=_say))


def _opened(graph: str | None) -> tuple[Kept, SlurmClient]:
    from trackyard.launch.jobs.store import open_graph
    from trackyard.launch.slurm.client import SlurmClient
    from trackyard.runner import SystemRunner

    return open_graph(repository_root(), graph), SlurmClient(SystemRunner())


def _of_job(graph: str | None, job: str | None) -> tuple[Kept, SlurmClient, str | None]:
    """A graph and a job of it; a single word may be either."""
    if graph is not None and job is None:
        newest, client = _opened(None)
        if graph in (one.name for one in newest.graph.jobs):
            return newest, client, graph
    return *_opened(graph), job


def _print(kept: Kept, found: list[JobStatus]) -> None:
    width = max(len(job.name) for job in found)
    for job in found:
        lives = f"life {job.lives}" if job.lives > 1 else ""
        took = str(timedelta(seconds=round(job.elapsed_s))) if job.lives else ""
        told = "  ".join(part for part in (lives, took, job.detail) if part)
        print(f"{job.name:{width}}  {job.state:13}  {job.slurm_id or '-':>10}  {told}".rstrip())
    print(f"{kept.graph.id}: {_counted(found)}")
    bad = [job.name for job in found if job.is_bad and job.failed_ancestor is None]
    if bad:
        logged = kept.log(bad[0]).is_file()
        look = f"trackyard logs {kept.graph.id} {bad[0]}, mend what it says, then " if logged else ""
        print(f"fix: {look}{kept.graph.again}")


def _counted(found: list[JobStatus]) -> str:
    return ", ".join(f"{count} {state}" for state, count in Counter(job.state for job in found).items())


def _tell(found: list[JobStatus]) -> None:
    sys.stderr.write(f"{_counted(found)}\n")


def _say(line: str) -> None:
    print(line, flush=True)

"""`trackyard submit TARGET`: what is stale of the DVC graph, as jobs of a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.printing import print_json
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from trackyard.launch.jobs.from_dvc import Wanted
    from trackyard.launch.jobs.graph import Graph
    from trackyard.launch.sites import Site


def submit(
    targets: Annotated[list[str], typer.Argument(help="stages or files, as `dvc repro` takes them")],
    site: Annotated[str | None, typer.Option(help="a file of sites/; none: what TRACKYARD_SITE names")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show jobs, reasons and cost, submit nothing")] = False,
    force: Annotated[bool, typer.Option("--force", help="run the targets even if they are up to date")] = False,
    shards: Annotated[list[str] | None, typer.Option(help="STAGE=N: in N parts, for stages that have some")] = None,
    partition: Annotated[str | None, typer.Option(help="of the jobs with GPUs, not the site's choice")] = None,
    profile: Annotated[str | None, typer.Option(help="estimate these parameters; with --dry-run")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the jobs as JSON")] = False,
) -> None:
    """Submit what is stale of targets and of all they come from: a job each, waiting for what it needs."""
    root = repository_root()
    from trackyard.launch.chosen import SITE_VARIABLE, chosen_site
    from trackyard.launch.jobs.from_dvc import Wanted
    from trackyard.launch.sites import load_site

    if profile is not None and not dry_run:
        raise ConfigError(
            what=f"--profile {profile} without --dry-run",
            why="jobs run with the parameters in force; another profile can only be estimated",
            fix=f"add --dry-run, or put it in force first: trackyard params TRACK --profile {profile}",
        )
    found = load_site(site, root) if site is not None else chosen_site(root)
    if found is None:
        raise ConfigError(
            what="no site is named",
            why="partitions, limits and who pays are facts of a site",
            fix=f"trackyard submit {' '.join(targets)} --site anvil, or export {SITE_VARIABLE}=anvil",
        )
    wanted = Wanted(targets=tuple(targets), force=force, shards=_parts(shards or ()), partition=partition)
    if dry_run:
        _show(root, wanted, found, profile, as_json=as_json)
    else:
        _submit(root, wanted, found, as_json=as_json)


def _parts(typed: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in typed:
        stage, _, number = text.rpartition("=")
        if not stage or not number.isdecimal():
            raise ConfigError(
                what=f"--shards {text}",
                why="it names a stage and the number of its parts",
                fix="--shards accuracy=4",
            )
        found[stage] = int(number)
    return found


def _show(root: Path, wanted: Wanted, site: Site, profile: str | None, *, as_json: bool) -> None:
    from trackyard.cli.submit_estimates import estimates
    from trackyard.cli.submit_printing import as_document, print_plan
    from trackyard.cli.submit_refusals import refusals
    from trackyard.launch.jobs.from_dvc import survey

    plan = survey(root, wanted, site, environment=os.environ)
    found = estimates(root, site, plan.graph.jobs, profile)
    obstacles = (*plan.obstacles, *refusals(root, site, plan.graph.jobs, found, profile))
    if as_json:
        print_json(as_document(plan.graph, obstacles, found, None))
    elif plan.graph.jobs or obstacles:
        print_plan(plan.graph, site, found, obstacles, profile)
    else:
        _nothing(wanted)


def _submit(root: Path, wanted: Wanted, site: Site, *, as_json: bool) -> None:
    from trackyard.cli.submit_printing import as_document, nothing_document, print_submitted
    from trackyard.launch.jobs.submitting import submit_stale
    from trackyard.launch.slurm.client import SlurmClient
    from trackyard.runner import SystemRunner

    def approve(graph: Graph) -> None:
        _require_that_it_can_end(root, site, graph)

    kept = submit_stale(root, wanted, SlurmClient(SystemRunner()), site, approve=approve)
    if kept is None:
        if as_json:
            print_json(nothing_document(wanted.targets, site))
        else:
            _nothing(wanted)
        return
    ids = {job.name: str(kept.submissions(job.name)[-1]["slurm_id"]) for job in kept.graph.jobs}
    if as_json:
        print_json(as_document(kept.graph, (), None, ids))
    else:
        print_submitted(kept.graph, ids)


def _require_that_it_can_end(root: Path, site: Site, graph: Graph) -> None:
    """Raises the first obstacle that the estimates show, before anything waits in a queue; tells what is doubtful."""
    from trackyard.cli.submit_estimates import estimates
    from trackyard.cli.submit_printing import doubts
    from trackyard.cli.submit_refusals import refusals

    found = estimates(root, site, graph.jobs, None)
    for refused in refusals(root, site, graph.jobs, found, None):
        raise refused
    for line in doubts(graph, found):
        print(f"warning: {line}", file=sys.stderr)


def _nothing(wanted: Wanted) -> None:
    print(f"nothing to do: {', '.join(wanted.targets)} and all they come from are up to date")

"""`trackyard site`: what a site has, and whether what jobs ask for can be granted, before anything is submitted."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import Failures, as_fields, print_json
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.launch.sites import Need, Shape, Site

app = typer.Typer(help="Where stages run: partitions, limits, what jobs ask for.", no_args_is_help=True)

Name = Annotated[str | None, typer.Argument(help="a file of sites/; none: what TRACKYARD_SITE names, else local")]


@app.command()
def show(name: Name = None, as_json: AsJson = False) -> None:
    """What a site has: partitions with limits and prices, what jobs ask for and cost, file systems."""
    from trackyard.cli.site_printing import print_site

    site, failures = _site(name), Failures()
    jobs = _settled(_unpaid(site), site.shapes, failures)
    if as_json:
        account = site.account_variable is not None and bool(os.environ.get(site.account_variable))
        body = {"site": site, "account_set": account, "jobs": jobs, "refused": failures.document()}
        print_json({"schema": "trackyard-site/1"} | body)
    else:
        print_site(site, jobs, os.environ)
    sys.exit(failures.exit_code)


@app.command()
def check(
    name: Name = None,
    needs: Annotated[str | None, typer.Option(help="only this kind: train, gpu, cpu or network")] = None,
    partition: Annotated[
        str | None, typer.Option(help="instead of what the site file says; so all that follow")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1)] = None,
    tasks_per_node: Annotated[int | None, typer.Option(min=1)] = None,
    gpus_per_node: Annotated[int | None, typer.Option(min=0)] = None,
    cores_per_task: Annotated[int | None, typer.Option(min=1)] = None,
    memory_gb: Annotated[float | None, typer.Option(help="of a node")] = None,
    minutes: Annotated[int | None, typer.Option(min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Settle what jobs ask for against the limits; exit code 2 with what is impossible and the nearest possible."""
    from trackyard.cli.site_printing import job_line
    from trackyard.launch.requests import account_of

    site, failures = _site(name), Failures()
    changes = {
        "partition": partition,
        "nodes": nodes,
        "tasks_per_node": tasks_per_node,
        "gpus_per_node": gpus_per_node,
        "cores_per_task": cores_per_task,
        "memory_gb_per_node": memory_gb,
        "minutes": minutes,
    }
    shapes = _shapes(site, needs, {key: value for key, value in changes.items() if value is not None})
    account = None
    try:
        account = account_of(site, os.environ)
    except ConfigError as error:
        failures.add(error, needs="account")
        site = _unpaid(site)
    jobs = _settled(site, shapes, failures)
    if as_json:
        body = {"site": site.name, "ok": not len(failures), "jobs": jobs, "refused": failures.document()}
        print_json({"schema": "trackyard-site-check/1"} | body)
    elif shapes:
        for kind, job in jobs.items():
            print(f"OK   {kind:8} {job_line(job)}")
        if jobs:
            print(
                f"checked: {'the account, and ' if account else ''}GPUs, nodes, cores, memory and time "
                f"against sites/{site.name}.yaml; Slurm was not asked: trackyard doctor --site {site.name}"
            )
    else:
        print(f"site {site.name} asks for nothing: it has no scheduler, or no shapes")
    sys.exit(failures.exit_code)


@app.command()
def space(name: Name = None, as_json: AsJson = False) -> None:
    """Bytes and files of all tracks on each file system of a site, against its quotas; exit code 1 if one overflows."""
    from trackyard.cli.site_printing import print_space
    from trackyard.launch.quotas import filled
    from trackyard.recipes.site_holdings import site_holdings

    site = _site(name)
    systems = filled(site, site_holdings(repository_root(), site))
    if as_json:
        body = [as_fields(one) | {"bytes": one.bytes, "files": one.files, "problems": one.problems} for one in systems]
        print_json({"schema": "trackyard-site-space/1", "site": site.name, "file_systems": body})
    else:
        print_space(site, systems)
    sys.exit(1 if any(one.problems for one in systems) else 0)


def _site(name: str | None) -> Site:
    from trackyard.launch.chosen import SITE_VARIABLE
    from trackyard.launch.sites import load_site

    return load_site(name or os.environ.get(SITE_VARIABLE) or "local", repository_root())


def _shapes(site: Site, needs: str | None, changes: dict[str, Any]) -> Mapping[Need, Shape]:
    """The shapes to settle: all of the site's, or the one for `needs` as the command line changes it."""
    from trackyard.launch.requests import shape_of
    from trackyard.launch.sites import Need, Shape
    from trackyard.parameters import parse_parameters

    if needs is None and not changes:
        return site.shapes if site.scheduler != "none" else {}
    kind = next((one for one in get_args(Need) if one == needs), None)
    if kind is None:
        raise ConfigError(
            what=f"--needs {needs}" if needs else f"{', '.join(changes)} without --needs",
            why=f"a job is for stages that need one of {', '.join(get_args(Need))}, as `meta` of dvc.yaml says",
            fix=f"trackyard site check {site.name} --needs train",
        )
    values = shape_of(site, kind).model_dump() | changes
    return {kind: parse_parameters(Shape, values, where=f"sites/{site.name}.yaml: shapes.{kind}, as changed")}


def _unpaid(site: Site) -> Site:
    """`site`, whoever pays: that nobody is named is told once, and sizes can be settled still."""
    return site.model_copy(update={"account_variable": None})


def _settled(site: Site, shapes: Mapping[Need, Shape], failures: Failures) -> dict[str, dict[str, Any]]:
    """Each shape as a request with its price; one that cannot be granted is told, and among the failures."""
    from trackyard.launch.charges import service_units_per_hour
    from trackyard.launch.requests import settle

    jobs: dict[str, dict[str, Any]] = {}
    for kind, shape in shapes.items():
        try:
            request = settle(site, kind, shape, environment=os.environ)
        except ConfigError as error:
            failures.add(error, needs=kind)
            continue
        partition = site.partitions[request.partition]
        units = service_units_per_hour(partition, request)
        jobs[kind] = {"request": request, "service_units_per_hour": units, "credits": partition.credits}
    return jobs

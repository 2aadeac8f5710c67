"""The tables of a site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from trackyard.cli.printing import size
from trackyard.launch.quotas import Filled
from trackyard.launch.sites import Partition, Site, Storage
from trackyard.launch.slurm.batch import Request

WIDTH = 118


def print_site(site: Site, jobs: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]) -> None:
    """Facts, partitions, what jobs ask for, file systems. jobs: request, price and credits by need."""
    for name, value in _facts(site, environment):
        print(f"{name:12} {value}")
    console = Console(width=WIDTH)
    console.print(_partitions(site))
    for kind, job in jobs.items():
        print(f"{kind:8} asks for {job_line(job)}")
    for name, storage in site.storages.items():
        print(f"{name:8} {_storage(storage, environment)}")


def print_space(site: Site, systems: Sequence[Filled]) -> None:
    """Each file system with what is to lie there, its quota, and whether that holds."""
    for one in systems:
        if not one.holdings:
            continue
        print(f"{one.name}, ${one.storage.path_variable}")
        for held in one.holdings:
            files = "unknown" if held.files is None else f"{held.files:,}"
            print(f"  {size(held.bytes):>10} {files:>10} files  {held.name}")
        quota = "no quota" if one.storage.quota_tb is None else size(round(one.storage.quota_tb * 1e12))
        most = "any number of" if one.storage.max_files is None else f"{one.storage.max_files:,}"
        print(f"  {size(one.bytes):>10} {one.files:>10,} files  together; {quota} and {most} files may be")
        for problem in one.problems:
            print(f"  DOES NOT FIT: {problem}")
    everything = [held for one in systems for held in one.holdings]
    unsized = [held.name for held in everything if held.bytes is None]
    unknown = dict.fromkeys([*unsized, *(name for held in everything for name in held.unknown)])
    if unknown:
        print(f"of unknown size, not counted: {', '.join(unknown)}")
    if any(one.problems for one in systems):
        print("choose data that fit, with limits of your own: trackyard data plan all --budget 2TB --max-files 500K")
    else:
        print(f"fits on site {site.name}")


def job_line(job: Mapping[str, Any]) -> str:
    """A request and its price in a line."""
    request: Request = job["request"]
    gpus = f" with {_counted(request.gpus_per_node, 'GPU')}" if request.gpus_per_node else ""
    memory = "" if request.memory_mb_per_node is None else f", {request.memory_mb_per_node:,} MB"
    hours, minutes = divmod(request.minutes, 60)
    price = job["service_units_per_hour"]
    cost = "" if price is None else f"; {price:,.4g} service units an hour, {job['credits'] or 'no'} credits"
    return (
        f"{request.nodes} x {request.partition}{gpus}: {_counted(request.tasks_per_node, 'task')} of "
        f"{request.cores_per_task} cores{memory} on a node, {hours}:{minutes:02} h{cost}"
    )


def _counted(number: int, name: str) -> str:
    return f"1 {name}" if number == 1 else f"{number} {name}s"


def _facts(site: Site, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "site", f"{site.name}, {'no scheduler' if site.scheduler == 'none' else site.scheduler}"
    if site.account_variable is not None:
        there = "set" if environment.get(site.account_variable) else "NOT SET"
        yield "account", f"of {site.account_variable}, which is {there} here"
    reaching = [name for name in site.partitions if site.reaches_network(name)]
    there = "all partitions" if len(reaching) == len(site.partitions) else ", ".join(reaching) or "no partition"
    yield "network", f"jobs reach the internet in {there}"
    yield "image", site.image or "none: stages run in the environment they are started from"
    if site.modules:
        yield "modules", " ".join(site.modules)
    if site.sbatch:
        yield "sbatch", " ".join(f"--{name}={value}" for name, value in site.sbatch.items())
    if site.object_store is not None:
        yield "objects", f"{site.object_store.endpoint}, keys {site.object_store.keys}"
    if site.scheduler != "none" and "network" not in site.shapes:
        yield "by hand", "stages that need the network, on a login node: env -u TRACKYARD_SITE dvc repro STAGE"


def _partitions(site: Site) -> Table:
    shown = Table(title="partitions, the default first", title_justify="left")
    for name in ("", "nodes", "GPUs", "cores", "memory GB", "hours", "limits", "service units an hour"):
        shown.add_column(name, justify="left" if name in ("", "limits", "service units an hour") else "right")
    order = [site.default_partition, *(name for name in site.partitions if name != site.default_partition)]
    for name in order:
        one = site.partitions[name]
        gpus = f"{one.gpus_per_node} {one.device}" if one.gpus_per_node else "none"
        shown.add_row(
            name, str(one.nodes), gpus, str(one.cores_per_node), _number(one.memory_gb_per_node),
            _number(one.max_hours), ", ".join(_limits(one)) or "none", ", ".join(_prices(one)) or "none",
        )  # fmt: skip
    return shown


def _limits(one: Partition) -> Iterator[str]:
    if one.max_gpus_per_user is not None:
        yield f"{one.max_gpus_per_user} GPUs a user"
    if one.max_gpus_per_account is not None:
        yield f"{one.max_gpus_per_account} an account"
    if one.max_running_jobs is not None:
        yield f"{one.max_running_jobs} running"
    if one.needs_gpus:
        yield "only with GPUs"
    if one.whole_nodes:
        yield "whole nodes"


def _prices(one: Partition) -> Iterator[str]:
    if one.service_units_per_gpu_hour is not None:
        memory = "" if one.memory_gb_per_gpu is None else f" with {one.memory_gb_per_gpu:g} GB"
        yield f"{one.service_units_per_gpu_hour:g} {one.credits or ''} unit a GPU{memory}"
    if one.service_units_per_core_hour is not None:
        memory = "" if one.memory_mb_per_core is None else f" with {one.memory_mb_per_core} MB"
        yield f"{one.service_units_per_core_hour:g} {one.credits or ''} unit a core{memory}"


def _storage(storage: Storage, environment: Mapping[str, str]) -> str:
    path = environment.get(storage.path_variable)
    quota = "no quota stated" if storage.quota_tb is None else size(round(storage.quota_tb * 1e12))
    files = "" if storage.max_files is None else f", {storage.max_files:,} files"
    purged = (
        "" if storage.purged_after_days is None else f", purged {storage.purged_after_days} days after the last read"
    )
    return f"${storage.path_variable}, {path or 'NOT SET here'}: {quota}{files}{purged}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"

"""What jobs ask for: a site's shape, settled against its partition, or refused with the nearest that it could grant.

Slurm refuses some of this itself ("Requested node configuration is not available") and lets the rest wait for ever;
here it is refused before anything is submitted. Source: hpc spec sections 4.2 and 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import ceil, floor

from trackyard.errors import ConfigError
from trackyard.launch.sites import FOLDER, Need, Partition, Shape, Site
from trackyard.launch.slurm.batch import Request

MIB = 2**20
"""What Slurm calls a megabyte."""
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def request_for(site: Site, needs: Need, *, environment: Mapping[str, str], stage: str | None = None) -> Request:
    """The request of a job whose stage needs `needs`. stage: as `dvc repro` takes it, for what an error says.

    ConfigError where the site cannot grant it, has no shape for it, no scheduler, or no account in the environment.
    """
    return settle(site, needs, shape_of(site, needs, stage=stage), environment=environment)


def shape_of(site: Site, needs: Need, *, stage: str | None = None) -> Shape:
    """What the site file asks for. ConfigError where it does not say, or where nothing is submitted at all."""
    named = stage or "STAGE"
    if site.scheduler == "none":
        raise ConfigError(
            what=f"site {site.name} has no scheduler",
            why="stages run on this machine there, one after the other; nothing is submitted",
            fix=f"dvc repro {named}   (or name a site with Slurm: `export TRACKYARD_SITE=anvil`)",
        )
    if needs in site.shapes:
        return site.shapes[needs]
    if needs == "network":
        raise ConfigError(
            what=f"{stage or 'the stage'} needs the internet, and no job of site {site.name} is known to reach it",
            why=f"{FOLDER}/{site.name}.yaml has no shapes.network: such stages come first, on a login node",
            fix=f"env -u TRACKYARD_SITE dvc repro {named}",
        )
    raise ConfigError(
        what=f"site {site.name} has no shape for stages that need {needs!r}",
        why=f"it has {', '.join(site.shapes) or 'none'}; a job without GPUs, memory and wall time cannot be asked for",
        fix=f"write shapes.{needs} into {FOLDER}/{site.name}.yaml, as in {FOLDER}/slurm-template.yaml",
    )


def settle(site: Site, needs: Need, shape: Shape, *, environment: Mapping[str, str]) -> Request:
    """`shape` as a request. ConfigError says all that is impossible about it, and the nearest that is possible."""
    name = site.partition_for(None, shape.partition)
    found = list(_problems(site, name, shape))
    copies = shape.nodes * shape.tasks_per_node
    if needs != "train" and copies > 1:
        found.append(f"{copies} tasks, each of which would do the whole stage: ranks are of `train` alone")
        cores = shape.tasks_per_node * shape.cores_per_task
        shape = shape.model_copy(update={"nodes": 1, "tasks_per_node": 1, "cores_per_task": cores})
    if found:
        possible = nearest(site, shape)
        if needs != "train":
            # GPUs beyond those of a node would be on further nodes, each with a task of its own.
            possible = possible.model_copy(update={"nodes": 1})
        raise ConfigError(
            what=f"site {site.name}, partition {name}, cannot grant what is asked for {needs}: {'; '.join(found)}",
            why="Slurm would refuse the job, or let it wait for ever",
            fix=f"the nearest possible: `trackyard site check {site.name} --needs {needs} {as_options(possible)}`; "
            f"to ask for it, write it as shapes.{needs} of {FOLDER}/{site.name}.yaml",
        )
    memory = shape.memory_gb_per_node
    return Request(
        partition=name,
        account=account_of(site, environment),
        nodes=shape.nodes,
        tasks_per_node=shape.tasks_per_node,
        gpus_per_node=shape.gpus_per_node,
        cores_per_task=shape.cores_per_task,
        memory_mb_per_node=None if memory is None else floor(memory * 1e9 / MIB),
        minutes=shape.minutes,
    )


def account_of(site: Site, environment: Mapping[str, str]) -> str | None:
    """Who pays; None where the site charges no account. ConfigError where the variable holds none."""
    if site.account_variable is None:
        return None
    value = environment.get(site.account_variable, "")
    if not _ACCOUNT.fullmatch(value):
        raise ConfigError(
            what=f"{site.account_variable} is {value!r}" if value else f"{site.account_variable} is not set",
            why=f"site {site.name} charges an account for every job, and the variable names it",
            fix=f"export {site.account_variable}=NAME   (`sacctmgr show assoc user=$USER format=account` lists yours)",
        )
    return value


def nearest(site: Site, shape: Shape) -> Shape:
    """The shape most like `shape` that the site can grant, with as many of its GPUs as may be; `shape` if it can that.

    Where GPUs are asked for and the partition has none, or none are and it needs some, it is of another partition.
    """
    asked = site.partition_for(None, shape.partition)
    name = _with_what_it_runs_on(site, asked, shape)
    partition = site.partitions[name]
    nodes, gpus = _gpus_within(partition, shape)
    tasks = gpus if gpus and shape.tasks_per_node == shape.gpus_per_node else shape.tasks_per_node
    tasks = min(tasks, partition.cores_per_node, gpus or tasks)
    memory, limit = shape.memory_gb_per_node, partition.memory_gb_per_node
    longest = _most_minutes(partition)
    minutes = max(shape.minutes, _least_minutes(site))
    return Shape(
        partition=shape.partition if name == asked else name,
        nodes=nodes,
        tasks_per_node=tasks,
        gpus_per_node=gpus,
        cores_per_task=min(shape.cores_per_task, partition.cores_per_node // tasks),
        memory_gb_per_node=memory if memory is None or limit is None else min(memory, limit),
        minutes=minutes if longest is None else min(minutes, longest),
    )


def as_options(shape: Shape) -> str:
    """As `trackyard site check` takes it."""
    options: dict[str, object] = {
        "partition": shape.partition,
        "nodes": shape.nodes,
        "tasks-per-node": shape.tasks_per_node,
        "gpus-per-node": shape.gpus_per_node,
        "cores-per-task": shape.cores_per_task,
        "memory-gb": None if shape.memory_gb_per_node is None else f"{shape.memory_gb_per_node:g}",
        "minutes": shape.minutes,
    }
    return " ".join(f"--{name} {value}" for name, value in options.items() if value is not None)


def _with_what_it_runs_on(site: Site, name: str, shape: Shape) -> str:
    """`name`, or the first partition that has GPUs for a job with some, or takes jobs without for one without."""

    def fits(one: Partition) -> bool:
        return one.gpus_per_node > 0 if shape.gpus_per_node else not one.needs_gpus

    order = [name, site.default_partition, *site.partitions]
    return next((other for other in order if fits(site.partitions[other])), name)


def _gpus_within(partition: Partition, shape: Shape) -> tuple[int, int]:
    """Nodes, and GPUs of each."""
    wanted = max(shape.gpus_per_node, 1 if partition.needs_gpus else 0)
    if wanted == 0 or partition.gpus_per_node == 0:
        return min(shape.nodes, partition.nodes), 0
    total = min([shape.nodes * wanted, *(limit for limit, _ in _gpu_limits(partition))])
    of_node = min(wanted, partition.gpus_per_node, total)
    nodes = min(ceil(total / of_node), partition.nodes)
    return nodes, min(of_node, total // nodes)


def _gpu_limits(partition: Partition) -> Iterator[tuple[int, str]]:
    if partition.max_gpus_per_user is not None:
        yield partition.max_gpus_per_user, "of one user"
    if partition.max_gpus_per_account is not None:
        yield partition.max_gpus_per_account, "of one account"


def _most_minutes(partition: Partition) -> int | None:
    return None if partition.max_hours is None else floor(partition.max_hours * 60)


def _least_minutes(site: Site) -> int:
    return site.jobs.signal_lead_s // 60 + 1


def _problems(site: Site, name: str, shape: Shape) -> Iterator[str]:
    """What `name` cannot grant of `shape`, a clause each."""
    partition = site.partitions[name]
    gpus, cores = shape.nodes * shape.gpus_per_node, shape.tasks_per_node * shape.cores_per_task
    if shape.nodes > partition.nodes:
        yield f"{shape.nodes} nodes, a job may have {partition.nodes}"
    if shape.gpus_per_node > partition.gpus_per_node:
        yield f"{shape.gpus_per_node} GPUs on a node, it has {partition.gpus_per_node}"
    for limit, whose in _gpu_limits(partition):
        if gpus > limit:
            yield f"{gpus} GPUs, {limit} may be in use {whose}"
    if partition.needs_gpus and not shape.gpus_per_node:
        yield "no GPU, it takes only jobs with GPUs"
    if 0 < shape.gpus_per_node < shape.tasks_per_node:
        yield f"{shape.tasks_per_node} ranks on a node with {shape.gpus_per_node} GPUs, each needs its own"
    if cores > partition.cores_per_node:
        yield (
            f"{cores} cores on a node ({shape.tasks_per_node} tasks of {shape.cores_per_task}), "
            f"it has {partition.cores_per_node}"
        )
    memory, there = shape.memory_gb_per_node, partition.memory_gb_per_node
    if memory is not None and there is not None and memory > there:
        yield f"{memory:g} GB of memory on a node, it has {there:g} GB"
    longest = _most_minutes(partition)
    if longest is not None and shape.minutes > longest:
        yield f"{shape.minutes} minutes, a job may take {longest}"
    if shape.minutes < _least_minutes(site):
        yield f"{shape.minutes} minutes, of which jobs.signal_lead_s={site.jobs.signal_lead_s} s are for saving"

"""Where stages run: partitions, devices, limits and prices of a site, as its operator states them.

A site file holds facts only; who pays is named by an environment variable. Source: hpc spec section 7, design 6.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from trackyard.errors import ConfigError
from trackyard.launch.slurm.options import OURS, SETTABLE
from trackyard.parameters import Parameters, parse_parameters, read_yaml

FOLDER = Path("sites")

DeviceName = Literal["any", "cpu", "a100-40", "a100-80", "h100", "h200"]
Need = Literal["train", "gpu", "cpu", "network"]
"""What a stage needs, as `meta.needs` of dvc.yaml says: GPUs of one or more nodes, and checkpoints; one GPU; none; or
the internet. `train` and `gpu` run in the site's image where it names one."""

Held = Literal["repository", "cache", "hub", "raw", "images"]
"""The checkout with data/, runs/ and artifacts/; DVC's cache; HF_HOME; TRACKYARD_RAW; image files."""


class Partition(Parameters):
    """Like nodes and the rules for using them."""

    device: DeviceName
    """What trains; "any" is whatever the profile was written for."""
    gpus_per_node: int = Field(default=0, ge=0)
    nodes: int = Field(default=1, ge=1)
    """That one job may have."""
    cores_per_node: int = Field(ge=1)
    memory_gb_per_node: float | None = Field(default=None, gt=0)
    """Host memory, GB; none: unknown here."""
    max_hours: float | None = Field(default=None, gt=0)
    """Wall-clock limit of one job; none: no limit."""
    max_gpus_per_user: int | None = Field(default=None, ge=1)
    """GPUs in use at once; none: no limit."""
    max_gpus_per_account: int | None = Field(default=None, ge=1)
    """GPUs that all users of an account have in use at once; none: no limit."""
    max_running_jobs: int | None = Field(default=None, ge=1)
    """Of one user at once: what is beyond waits. none: no limit."""
    needs_gpus: bool = False
    """Whether a job that asks for no GPU is refused here."""
    whole_nodes: bool = False
    """Whether a job has its nodes to itself, and pays for all of their cores."""
    service_units_per_gpu_hour: float | None = Field(default=None, ge=0)
    """none: nothing is charged."""
    memory_gb_per_gpu: float | None = Field(default=None, gt=0)
    """Host memory that the price of a GPU includes, GB; more is charged as more GPUs. none: memory is not charged."""
    service_units_per_core_hour: float | None = Field(default=None, ge=0)
    """Of a job without GPUs; none: nothing is charged."""
    memory_mb_per_core: int | None = Field(default=None, ge=1)
    """Host memory that the price of a core includes, MiB as Slurm counts; more is charged as more cores. none: memory
    is not charged."""
    credits: str | None = None
    """Which account of service units is charged."""
    has_network: bool | None = None
    """Whether jobs reach the internet here; none: as the site says."""
    network_gbit_per_node: float | None = Field(default=None, gt=0)
    """Between nodes."""

    @model_validator(mode="after")
    def _has_what_it_trains_on(self) -> Self:
        if (self.device == "cpu") == (self.gpus_per_node > 0) and self.device != "any":
            raise ValueError(f"device={self.device} with gpus_per_node={self.gpus_per_node}")
        if self.needs_gpus and not self.gpus_per_node:
            raise ValueError("needs_gpus without gpus_per_node")
        return self


class Storage(Parameters):
    """A file system that runs and checkpoints may go to."""

    path_variable: str
    """Environment variable that holds its path."""
    quota_tb: float | None = Field(default=None, gt=0)
    """none: no quota, or unknown here."""
    max_files: int | None = Field(default=None, ge=1)
    """none: not counted, or unknown here."""
    purged_after_days: int | None = Field(default=None, ge=1)
    """Files unread for so long are deleted."""
    holds: tuple[Held, ...] = ()
    """What lies here, for the comparison with the quotas."""


class Shape(Parameters):
    """What a job of one kind asks for. None: what the partition gives by itself."""

    partition: str | None = None
    """none: the site's default."""
    nodes: int = Field(default=1, ge=1)
    tasks_per_node: int = Field(default=1, ge=1)
    """Processes that `srun` starts on a node, each a rank; 1: the stage starts its own."""
    gpus_per_node: int = Field(default=0, ge=0)
    cores_per_task: int = Field(default=1, ge=1)
    memory_gb_per_node: float | None = Field(default=None, gt=0)
    minutes: int = Field(ge=1)
    """Wall-clock limit of one job of a chain."""


class Jobs(Parameters):
    """How batch jobs behave here."""

    attempts: int = Field(default=20, ge=1)
    """Lives of one job, the first included, before it is given up."""
    signal_lead_s: int = Field(default=300, ge=1, le=65_535)
    """Time before the wall-clock limit at which a job is asked to save: a save, a step, and the minute by which Slurm
    is inexact."""
    array_at_once: int | None = Field(default=None, ge=1)
    """Tasks of one array that run at the same time; none: no limit."""


class Network(Parameters):
    """What ranks on several nodes talk over."""

    environment: dict[str, str] = Field(default_factory=dict)
    """Settings of NCCL and gloo: NCCL_IB_HCA, NCCL_SOCKET_IFNAME, …"""
    transport: Literal["IB", "Socket"] | None = None
    """What NCCL must choose between nodes; a bandwidth test that finds another stops."""
    min_gbyte_per_s: float | None = Field(default=None, gt=0)
    """Least bus bandwidth of an all-reduce between nodes."""


class ObjectStore(Parameters):
    """Storage by S3's protocol, for a DVC remote. Its keys are no matter of a site file."""

    endpoint: str
    """Address that `dvc remote modify --local NAME endpointurl` takes."""
    keys: str
    """Where its keys come from, in words."""


class Site(Parameters):
    """One cluster or machine."""

    name: str
    scheduler: Literal["none", "slurm"] = "none"
    account_variable: str | None = None
    """Environment variable that names the account; accounts are never written into files."""
    compute_has_network: bool = False
    """Whether jobs reach the internet. Offline is assumed where the operator's pages disagree."""
    default_partition: str
    partitions: dict[str, Partition]
    home: Storage | None = None
    scratch: Storage | None = None
    project: Storage | None = None
    object_store: ObjectStore | None = None
    shapes: dict[Need, Shape] = Field(default_factory=dict)
    """What jobs ask for, by what their stage needs."""
    jobs: Jobs = Jobs()
    network: Network = Network()
    image: str | None = None
    """Name of the image that stages run in, of containers/image.lock.json; none: this environment."""
    image_store: Storage | None = None
    """Where image files lie; none: containers/ of the repository."""
    local_disk_variable: str = "TMPDIR"
    """Environment variable that holds a directory of the node's own disk: caches of compilers belong there."""
    sbatch: dict[str, str] = Field(default_factory=dict)
    """Further options of sbatch, by name without dashes: qos, constraint, reservation, …"""
    modules: tuple[str, ...] = ()
    """Loaded at the start of a job: `module load NAME`."""
    binds: tuple[str, ...] = ()
    """Further directories that are seen inside the image, as SOURCE:TARGET[:ro]."""
    locks: Literal["flock", "link"] = "flock"
    """link: the file system has no working flock, so lock files are hard links."""

    @model_validator(mode="after")
    def _names_what_it_has(self) -> Self:
        if self.default_partition not in self.partitions:
            raise ValueError(f"default_partition={self.default_partition!r} is none of {sorted(self.partitions)}")
        for needs, shape in self.shapes.items():
            if shape.partition is not None and shape.partition not in self.partitions:
                raise ValueError(f"shapes.{needs}.partition={shape.partition!r} is none of {sorted(self.partitions)}")
            if needs == "network" and not self.reaches_network(shape.partition or self.default_partition):
                raise ValueError(
                    "shapes.network is in a partition without network: has_network and compute_has_network"
                )
        lead = self.jobs.signal_lead_s
        for name, partition in self.partitions.items():
            if partition.max_hours is not None and partition.max_hours * 3600 < lead + 60:
                raise ValueError(f"jobs.signal_lead_s={lead} leaves no minute of what a job in {name} may take")
        return self

    @model_validator(mode="after")
    def _says_what_programs_take(self) -> Self:
        for option in self.sbatch.keys() - SETTABLE:
            known = f"what a site may add is {', '.join(sorted(SETTABLE))}"
            raise ValueError(f"sbatch.{option}: {'trackyard sets it itself' if option in OURS else known}")
        for bind in self.binds:
            if not re.fullmatch(r"[^:]+:[^:]+(:ro)?", bind):
                raise ValueError(f"binds: {bind!r} is not SOURCE:TARGET or SOURCE:TARGET:ro")
        return self

    @model_validator(mode="after")
    def _holds_each_once(self) -> Self:
        held = [one for storage in self.storages.values() for one in storage.holds]
        for twice in {one for one in held if held.count(one) > 1}:
            raise ValueError(f"holds: {twice!r} lies on two file systems")
        return self

    @property
    def storages(self) -> dict[str, Storage]:
        """The file systems that the site names."""
        named = {"home": self.home, "scratch": self.scratch, "project": self.project}
        return {name: storage for name, storage in named.items() if storage is not None}

    def reaches_network(self, partition: str) -> bool:
        """Whether a job in `partition` reaches the internet, as far as the site file says."""
        stated = self.partitions[partition].has_network
        return self.compute_has_network if stated is None else stated

    def partition_for(self, device: str | None, name: str | None = None) -> str:
        """The partition to use: `name` where given, else the default if it has `device`, else the first with it.

        Raises ConfigError if there is none.
        """
        if name is not None:
            if name not in self.partitions:
                raise ConfigError(
                    what=f"site {self.name} has no partition {name!r}",
                    why=f"it has {', '.join(self.partitions)}",
                    fix=f"name one of them, or add it to {FOLDER}/{self.name}.yaml",
                )
            return name
        order = [self.default_partition, *(one for one in self.partitions if one != self.default_partition)]
        fitting = [one for one in order if device is None or self.partitions[one].device in (device, "any")]
        if not fitting:
            there = ", ".join(f"{one}: {self.partitions[one].device}" for one in order)
            raise ConfigError(
                what=f"site {self.name} has no {device}",
                why=f"the profile was written for that device; the partitions are {there}",
                fix="choose a profile for one of these devices, or a partition with --partition",
            )
        return fitting[0]


def load_site(name: str, root: Path) -> Site:
    """The site `name` of sites/ below `root`; ConfigError names what is wrong, or the sites there are."""
    path = root / FOLDER / f"{name}.yaml"
    if not path.is_file():
        there = sorted(one.stem for one in (root / FOLDER).glob("*.yaml"))
        raise ConfigError(
            what=f"there is no site {name!r}",
            why=f"{FOLDER}/ has {', '.join(there) or 'none'}",
            fix=f"name one of them, or describe yours: `cp {FOLDER}/slurm-template.yaml {FOLDER}/{name}.yaml`",
        )
    site = parse_parameters(Site, read_yaml(path), where=f"{FOLDER}/{path.name}")
    if site.name != name:
        raise ConfigError(
            what=f"{FOLDER}/{path.name} says name: {site.name}",
            why="jobs find their site by its name, and would run as at another one",
            fix=f"write `name: {name}` in {FOLDER}/{path.name}",
        )
    return site

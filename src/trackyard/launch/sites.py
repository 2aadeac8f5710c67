"""Where stages run: partitions, devices, limits and prices of a site, as its operator states them.

A site file holds facts only; who pays is named by an environment variable. Source: hpc spec section 7, design 6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from trackyard.errors import ConfigError
from trackyard.parameters import Parameters, parse_parameters, read_yaml

FOLDER = Path("sites")

DeviceName = Literal["any", "cpu", "a100-40", "a100-80", "h100", "h200"]


class Partition(Parameters):
    """Like nodes and the rules for using them."""

    device: DeviceName
    """What trains; "any" is whatever the profile was written for."""
    gpus_per_node: int = Field(default=0, ge=0)
    nodes: int = Field(default=1, ge=1)
    cores_per_node: int = Field(ge=1)
    memory_gb_per_node: float | None = Field(default=None, gt=0)
    """Host memory, GB; none: unknown here."""
    max_hours: float | None = Field(default=None, gt=0)
    """Wall-clock limit of one job; none: no limit."""
    max_gpus_per_user: int | None = Field(default=None, ge=1)
    """GPUs in use at once; none: no limit."""
    service_units_per_gpu_hour: float | None = Field(default=None, ge=0)
    """none: nothing is charged."""
    credits: str | None = None
    """Which account of service units is charged."""
    network_gbit_per_node: float | None = Field(default=None, gt=0)
    """Between nodes."""

    @model_validator(mode="after")
    def _has_what_it_trains_on(self) -> Self:
        if (self.device == "cpu") == (self.gpus_per_node > 0) and self.device != "any":
            raise ValueError(f"device={self.device} with gpus_per_node={self.gpus_per_node}")
        return self


class Storage(Parameters):
    """A file system that runs and checkpoints may go to."""

    path_variable: str
    """Environment variable that holds its path."""
    quota_tb: float | None = Field(default=None, gt=0)
    max_files: int | None = Field(default=None, ge=1)
    purged_after_days: int | None = Field(default=None, ge=1)
    """Files unread for so long are deleted."""


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
    scratch: Storage | None = None
    project: Storage | None = None

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default_partition not in self.partitions:
            raise ValueError(f"default_partition={self.default_partition!r} is none of {sorted(self.partitions)}")
        return self

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
    return parse_parameters(Site, read_yaml(path), where=f"{FOLDER}/{path.name}")

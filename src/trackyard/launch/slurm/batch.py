"""What is asked of Slurm: the size of a job, and the job itself. `script` renders it, `client` submits it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The size of one job, settled against a site. account: None where the site charges none."""

    partition: str
    account: str | None
    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cores_per_task: int
    memory_mb_per_node: int | None
    minutes: int

    @property
    def ranks(self) -> int:
        return self.nodes * self.tasks_per_node

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchJob:
    """One batch script. command: what it executes, in place of the shell, on the first node; cwd: the repository.

    after: ids of jobs (or tasks of arrays, ID_INDEX) that must have succeeded. array: indices as `--array` takes them,
    with `%N` for a limit. output: pattern of the log file, appended to over requeues. lead_s: seconds before the limit
    at which SIGUSR1 comes. exports: further variables of the script; modules: loaded before the command; options:
    further ones of sbatch, by name.
    """

    name: str
    request: Request
    command: tuple[str, ...]
    cwd: Path
    output: Path
    lead_s: int
    after: tuple[str, ...] = ()
    array: str | None = None
    exports: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    requeue: bool = True

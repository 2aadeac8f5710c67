"""Which rank this process is where a launcher started it: torchrun, DeepSpeed's launcher or Slurm's srun.

Launchers differ in the names they use; the rest of trackyard, torch and DeepSpeed read those that `adopt` leaves in the
environment. Sources: hpc spec section 4, torchrun's and srun's lists of variables, deepspeed.launcher.launch 0.19.8.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from trackyard.errors import ConfigError, EnvironmentLacking

_FIRST_PORT, _PORTS = 15_000, 15_000
"""Below the ports that the kernel gives to outgoing connections (32768 and more)."""
_ELASTIC = "TORCHELASTIC_"
"""Prefix of torchrun's own variables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launched:
    """One of several processes that a launcher started. by: the launcher; host, port: where rank 0 is found."""

    by: str
    rank: int
    world: int
    local_rank: int
    local_world: int
    host: str
    port: int
    restart: int = 0
    """How often the launcher has started these ranks again."""

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.world and 0 <= self.local_rank < self.local_world <= self.world):
            raise EnvironmentLacking(
                what=f"{self.by} says rank {self.rank} of {self.world}, on this machine {self.local_rank} "
                f"of {self.local_world}",
                why="these numbers contradict each other; ranks that count differently wait for each other for ever",
                fix="unset the rank variables that an outer launcher left, or start with one launcher only",
            )

    def variables(self) -> dict[str, str]:
        """What torch.distributed and DeepSpeed read."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
        }


def launched(environment: Mapping[str, str]) -> Launched | None:
    """The rank that a launcher gave this process; None where it was started alone.

    RANK and WORLD_SIZE (torchrun, deepspeed) hold before Slurm's, because torchrun is often started by srun. A step of
    one task is no launcher: `processes` then starts ranks on its node. EnvironmentLacking where variables are missing.
    """
    if "RANK" in environment or "WORLD_SIZE" in environment:
        found = _by_rank(environment)
        if found is None and "SLURM_STEP_ID" in environment:
            _refuse_many_alone(environment)
        return found
    # The script of a batch job has a rank too (0), and no step.
    if "SLURM_STEP_ID" in environment:
        return _by_step(environment)
    return None


def adopt(found: Launched) -> None:
    """Put the rank into this process's environment under the names that torch and DeepSpeed read."""
    os.environ.update(found.variables())


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what torchrun left in it, for ranks that are started anew: they hold their own store."""
    return {name: value for name, value in environment.items() if not name.startswith(_ELASTIC)}


def require_world(found: Launched, processes: int) -> None:
    """ConfigError unless `processes` of the parameters is 1, or the number of ranks here or in all."""
    if processes not in (1, found.local_world, found.world):
        raise ConfigError(
            what=f"processes={processes} in the parameters, and {found.by} started {found.world} ranks, "
            f"{found.local_world} of them on this machine",
            why="who starts the ranks decides how many there are; two numbers would be two different runs",
            fix=f"set processes to {found.world} or 1, or start without a launcher: trackyard run molmo2 stage2 "
            f"--processes {processes}",
        )


def without_local_rank(arguments: list[str]) -> list[str]:
    """Command-line arguments without the `--local_rank=N` that DeepSpeed's launcher puts first (LOCAL_RANK says it)."""
    return arguments[1:] if arguments and re.fullmatch(r"--local[_-]rank=\d+", arguments[0]) else arguments


def first_host(nodes: str) -> str:
    """First name of a Slurm node list: `gpu-[003-005,7],other` gives gpu-003, `rack[0-1]node[2,4]` gives rack0node2."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    if first is None:
        raise EnvironmentLacking(
            what=f"the node list {nodes!r} names no host",
            why="ranks meet at the first host of their step",
            fix="set MASTER_ADDR to a name of the node that holds rank 0",
        )
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0])


def _by_rank(environment: Mapping[str, str]) -> Launched | None:
    elastic = f"{_ELASTIC}RUN_ID" in environment
    by = "torchrun" if elastic else "the launcher (RANK, WORLD_SIZE)"
    world = _number(environment, "WORLD_SIZE", by)
    if world == 1:
        return None
    # DeepSpeed's launcher calls it LOCAL_SIZE.
    local = "LOCAL_WORLD_SIZE" if "LOCAL_WORLD_SIZE" in environment else "LOCAL_SIZE"
    return Launched(
        by=by,
        rank=_number(environment, "RANK", by),
        world=world,
        local_rank=_number(environment, "LOCAL_RANK", by),
        local_world=_number(environment, local, by),
        host=_text(environment, "MASTER_ADDR", by),
        port=_number(environment, "MASTER_PORT", by),
        restart=_number(environment, f"{_ELASTIC}RESTART_COUNT", by) if elastic else 0,
    )


def _refuse_many_alone(environment: Mapping[str, str]) -> None:
    """Where WORLD_SIZE is 1, a step of several tasks would be as many runs of the same thing over each other."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks != "1":
        raise EnvironmentLacking(
            what=f"WORLD_SIZE=1, and srun started {tasks} tasks",
            why="each of them would take itself for the only rank and run the whole stage",
            fix="unset RANK WORLD_SIZE LOCAL_RANK   (an earlier launcher left them), then start it again",
        )


def _by_step(environment: Mapping[str, str]) -> Launched | None:
    by = "srun"
    # The job's own number of tasks is another one where the step has fewer.
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    world = _number(environment, tasks, by)
    if world == 1:
        return None
    nodes = "SLURM_STEP_NUM_NODES" if "SLURM_STEP_NUM_NODES" in environment else "SLURM_NNODES"
    several = _number(environment, nodes, by) > 1
    listed = "SLURM_STEP_NODELIST" if "SLURM_STEP_NODELIST" in environment else "SLURM_JOB_NODELIST"
    host = environment.get("MASTER_ADDR") or (first_host(_text(environment, listed, by)) if several else "127.0.0.1")
    port = environment.get("MASTER_PORT")
    return Launched(
        by=by,
        rank=_number(environment, "SLURM_PROCID", by),
        world=world,
        local_rank=_number(environment, "SLURM_LOCALID", by),
        local_world=_local_tasks(environment, world, by) if several else world,
        host=host,
        port=_number(environment, "MASTER_PORT", by) if port else _port(environment, by),
    )


def _local_tasks(environment: Mapping[str, str], world: int, by: str) -> int:
    """Tasks of this node. SLURM_STEP_TASKS_PER_NODE: `4`, `4(x2)` or `3(x2),1`, in the order of the nodes."""
    if "SLURM_STEP_TASKS_PER_NODE" not in environment:
        return _number(environment, "SLURM_NTASKS_PER_NODE", by)
    counts: list[int] = []
    for part in environment["SLURM_STEP_TASKS_PER_NODE"].split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise _half_set("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_TASKS_PER_NODE"], by)
        counts += [int(match[1])] * int(match[2] or 1)
    node = _number(environment, "SLURM_NODEID", by)
    if sum(counts) != world or node >= len(counts):
        raise _half_set("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_TASKS_PER_NODE"], by)
    return counts[node]


def _port(environment: Mapping[str, str], by: str) -> int:
    """The same on every rank, another one for each job and for steps of one job side by side."""
    job, step = _number(environment, "SLURM_JOB_ID", by), _number(environment, "SLURM_STEP_ID", by)
    return _FIRST_PORT + (job * 17 + step) % _PORTS


def _number(environment: Mapping[str, str], name: str, by: str) -> int:
    text = _text(environment, name, by)
    if not re.fullmatch(r"\d+", text):
        raise _half_set(name, text, by)
    return int(text)


def _text(environment: Mapping[str, str], name: str, by: str) -> str:
    if not environment.get(name):
        raise _half_set(name, None, by)
    return environment[name]


def _half_set(name: str, value: str | None, by: str) -> EnvironmentLacking:
    return EnvironmentLacking(
        what=f"started by {by}, and {name} is {'not set' if value is None else repr(value)}",
        why="without it this process does not know which rank it is, or where the others are",
        fix="start all ranks by one launcher: torchrun --nproc-per-node 2 -m trackyard run molmo2 stage2   (or unset "
        "RANK, WORLD_SIZE and what else a launcher left)",
    )

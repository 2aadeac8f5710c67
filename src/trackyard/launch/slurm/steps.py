"""One `srun` inside a batch job: a rank for each task, bound to cores of its own, told of its place by Slurm."""

from __future__ import annotations

from collections.abc import Sequence

from trackyard.launch.slurm.batch import Request


def srun_argv(request: Request, command: Sequence[str]) -> list[str]:
    """The command line that starts `command` once for each rank of `request`, on the nodes of this job.

    A step asks for everything itself: since 22.05 it inherits no --cpus-per-task, and the batch script's environment
    must not decide how many ranks there are. Every rank sees all GPUs of its node, and takes that of its LOCAL_RANK.
    """
    argv = [
        "srun",
        f"--nodes={request.nodes}",
        f"--ntasks={request.ranks}",
        f"--ntasks-per-node={request.tasks_per_node}",
        f"--cpus-per-task={request.cores_per_task}",
    ]
    if request.gpus_per_node:
        argv.append(f"--gpus-per-node={request.gpus_per_node}")
    return [
        *argv,
        # Threads of one rank that wander onto the cores of another slow both.
        "--cpu-bind=cores",
        # torch.distributed starts by the variables of the step, and needs no MPI.
        "--mpi=none",
        # The batch script holds what jobs may see; its own `--export` would otherwise hold for the step too.
        "--export=ALL",
        # A rank that fails leaves the others waiting for it. One that has ended in order does not: the first rank
        # writes the results after that, for as long as it takes, whatever the cluster's WaitTime.
        "--kill-on-bad-exit=1",
        "--wait=0",
        *command,
    ]

"""What an hour of a job costs in service units. Source: hpc spec section 7, accounting."""

from __future__ import annotations

from trackyard.launch.sites import Partition
from trackyard.launch.slurm.batch import Request

_MIB = 2**20


def service_units_per_hour(partition: Partition, request: Request) -> float | None:
    """Service units that an hour of `request` costs in `partition`; None where the site states no price.

    A job with GPUs pays for them, one without for its cores. Memory beyond what the price of these includes is charged
    as more of them: what counts is the larger of both shares.
    """
    memory_mb = request.nodes * (request.memory_mb_per_node or 0)
    if request.gpus:
        price, amount = partition.service_units_per_gpu_hour, float(request.gpus)
        if partition.memory_gb_per_gpu is not None:
            amount = max(amount, memory_mb * _MIB / 1e9 / partition.memory_gb_per_gpu)
    else:
        price = partition.service_units_per_core_hour
        of_node = partition.cores_per_node if partition.whole_nodes else request.tasks_per_node * request.cores_per_task
        amount = float(request.nodes * of_node)
        if partition.memory_mb_per_core is not None:
            amount = max(amount, memory_mb / partition.memory_mb_per_core)
    return None if price is None else price * amount

"""Who a process is among those that train together. Source: molmo2 spec section 12, reliability spec section 4.3.

R data-parallel groups of C context-parallel ranks, which are neighbours: group r holds ranks r * C to r * C + C - 1.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from trackyard.errors import ConfigError

TIMEOUT_S = 600.0
"""How long a collective waits for its peers. A dead peer would otherwise be waited for as long as torch likes."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among R x C. context: C. host_group: of all ranks, for numbers in host memory.

    What hosts decide together (a stop, the weight of a step) goes through `host_group`, so that no device is waited
    for.
    """

    rank: int
    world: int
    context: int
    context_group: dist.ProcessGroup | None
    host_group: dist.ProcessGroup

    @property
    def data_rank(self) -> int:
        """Number of this rank's context-parallel group."""
        return self.rank // self.context

    @property
    def data_ranks(self) -> int:
        """R."""
        return self.world // self.context

    @property
    def context_rank(self) -> int:
        """Place of this rank in its group."""
        return self.rank % self.context

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks of as many numbers as each passes, in double precision, the same on every rank."""
        if self.world == 1:
            return [float(value) for value in values]
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed, group=self.host_group)
        return [float(value) for value in summed]

    def barrier(self) -> None:
        """Wait, on the host, until every rank is here."""
        self.total([0.0])


def rank() -> int:
    """Number of this process among all ranks, as its launcher says."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of ranks, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """Number of ranks on this machine, as the launcher says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def join_ranks(threads: int, *, context: int = 1, timeout_s: float = TIMEOUT_S) -> Ranks:
    """Join the process group (gloo without a GPU, NCCL with one); a lone process forms a group of one.

    threads: CPU threads of this machine's ranks together. Raises ConfigError if the ranks are not whole groups of
    `context`.
    """
    world = world_size()
    if world % context:
        raise ConfigError(
            what=f"{world} ranks are not whole groups of {context}",
            why="every pack is shared by engine.context_degree ranks",
            fix="start a multiple of engine.context_degree processes",
        )
    torch.set_num_threads(max(1, threads // local_world_size()))
    if torch.cuda.is_available():
        # A scheduler may show each rank its own device only.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    if world == 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    timeout = timedelta(seconds=timeout_s)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timeout)
    return Ranks(
        rank=rank(),
        world=world,
        context=context,
        context_group=_context_group(world, context, timeout),
        host_group=_host_group(timeout),
    )


def _context_group(world: int, context: int, timeout: timedelta) -> dist.ProcessGroup | None:
    """The group of this rank; every rank makes all of them, in one order, as torch wants it."""
    if context == 1:
        return None
    groups = [dist.new_group(range(at, at + context), timeout=timeout) for at in range(0, world, context)]
    own: dist.ProcessGroup = groups[rank() // context]
    return own


def _host_group(timeout: timedelta) -> dist.ProcessGroup:
    """All ranks over gloo; where that is the backend anyway, the group that exists."""
    if dist.get_backend() == "gloo":
        whole = dist.group.WORLD
        assert whole is not None, "the process group was just made"
        return whole
    made: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timeout)
    return made


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

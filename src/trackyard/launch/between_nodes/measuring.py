"""An all-reduce between all ranks: the right sums, how fast, over what. Source: pains 12, hpc spec section 4.3."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from trackyard.errors import TrackyardError
from trackyard.launch.between_nodes import nccl_log
from trackyard.launch.failures import named_failures
from trackyard.launch.launched import Launched, adopt
from trackyard.train.ranks import Ranks, join_ranks

REPEATS = 5
TIMEOUT_S = 120.0
"""How long a rank waits for the others, at the start and in every all-reduce."""
_FLOATS_OF_GIB = 2**30 // 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """backend: nccl or gloo. hosts: of the ranks, in their order. transports: between nodes, by NCCL's log; gloo has
    tcp alone. seconds: median of an all-reduce of `gib`, on the slowest rank. bus_gbyte_per_s: what each link carried,
    which is the same for any number of ranks: 2 (n - 1) / n of the bytes (PERFORMANCE.md of nccl-tests).
    without_verbs: hosts with a rank that cannot load the verbs library. complaints: NCCL's, of any rank.
    """

    backend: str
    hosts: tuple[str, ...]
    transports: tuple[str, ...]
    gib: float
    seconds: float
    bus_gbyte_per_s: float
    without_verbs: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.hosts))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """What a rank tells the others of where it is."""

    host: str
    verbs: bool
    transports: frozenset[str]
    complaints: tuple[str, ...]


def measure(found: Launched, gib: float, settings: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> Measured:
    """Reduce `gib` GiB of float32 between all ranks. settings: of the network, put into this process's environment.

    Every rank returns the same; from then on all but the first end by themselves only. TrackyardError where the ranks
    do not reach each other, or the sums are wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update({**settings, **nccl_log.variables(Path(folder))})
        adopt(found)
        with _reaching(found):
            ranks = join_ranks(found.local_world, timeout_s=timeout_s)
        try:
            with named_failures():
                seconds = _timed(ranks, gib)
                log = "".join(path.read_text(errors="replace") for path in sorted(Path(folder).iterdir()))
                if found.rank > 0:
                    # The first rank ends with the verdict, and srun sends SIGTERM to those that are a moment slower: a
                    # rank that died of it would hide the exit code.
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                places = _told_to_all(ranks, _here(log))
        finally:
            dist.destroy_process_group()
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    between = {name for place in places for name in place.transports} if backend == "nccl" else {"tcp"}
    return Measured(
        backend=backend,
        hosts=tuple(place.host for place in places),
        transports=tuple(sorted(between)),
        gib=gib,
        seconds=seconds,
        bus_gbyte_per_s=2 * (found.world - 1) / found.world * gib * 2**30 / seconds / 1e9,
        without_verbs=tuple(dict.fromkeys(place.host for place in places if not place.verbs)),
        complaints=tuple(dict.fromkeys(words for place in places for words in place.complaints)),
    )


@contextmanager
def _reaching(found: Launched) -> Iterator[None]:
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        raise TrackyardError(
            what=f"rank {found.rank} of {found.world} did not meet the others at {found.host}:{found.port}: "
            f"{' '.join(str(error).split())[:300]}",
            why="no step of a training could be taken either",
            fix="see that every rank was started, and that nodes reach each other there: NCCL_SOCKET_IFNAME and "
            "GLOO_SOCKET_IFNAME under network.environment of the site, or MASTER_ADDR",
        ) from error


def _here(log: str) -> _Place:
    return _Place(
        # Nodes that a test emulates on one machine differ by Slurm's name alone.
        host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        verbs=nccl_log.has_verbs(),
        transports=nccl_log.transports(log),
        complaints=nccl_log.complaints(log),
    )


def _timed(ranks: Ranks, gib: float) -> float:
    """Seconds of one all-reduce."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    values = torch.full((max(1, round(gib * _FLOATS_OF_GIB)),), float(ranks.rank + 1), device=device)
    # The first one makes the connections; it is the one that is looked at.
    dist.all_reduce(values)
    _require_sums(values, ranks)
    values.zero_()
    seconds = []
    for _ in range(REPEATS):
        ranks.barrier()
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        dist.all_reduce(values)
        if device == "cuda":
            torch.cuda.synchronize()
        slowest = torch.tensor([time.perf_counter() - started], dtype=torch.float64)
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX, group=ranks.host_group)
        seconds.append(float(slowest))
    return statistics.median(seconds)


def _require_sums(values: torch.Tensor, ranks: Ranks) -> None:
    """On every rank, told to all of them: one alone that stopped would leave the others waiting."""
    expected = ranks.world * (ranks.world + 1) / 2
    wrong = ranks.total([float((values != expected).sum())])[0]
    if wrong:
        raise TrackyardError(
            what=f"{wrong:.0f} sums of an all-reduce between {ranks.world} ranks are not {expected:g}",
            why="gradients that are summed like this train another model",
            fix="leave one node out at a time (`#SBATCH --exclude`) to find the one with the faulty link or memory",
        )


def _told_to_all(ranks: Ranks, place: _Place) -> list[_Place]:
    places: list[_Place | None] = [None] * ranks.world
    dist.all_gather_object(places, place, group=ranks.host_group)
    return [one for one in places if one is not None]

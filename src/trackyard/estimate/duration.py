"""Seconds of one step: arithmetic, context parallelism, gradients, data. Source: performance spec 4 and 9.8."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trackyard.estimate.devices import Device
from trackyard.estimate.workload import Attended, Workload
from trackyard.train.flops import Work, mfu, step_flops

OVERLAPPED = 0.5
"""Share of the arithmetic behind which gradients are exchanged."""
HOST_LINK = 25e9
"""Bytes/s between a GPU and its host, in use."""
HOST_UPDATE = 20e9
"""Bytes/s of optimiser state that a host updates for each rank."""
UPDATE_BYTES = 28
"""Read and written per trained parameter by an update."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTime:
    """Seconds of a step, by what they are spent on. mfu: None where the device's peak is not known.

    exchange: of gradients and weights, what is not hidden behind arithmetic. data: of decoding, with everything else
    going on meanwhile; it counts only where it takes longer.
    """

    arithmetic: float
    context: float
    exchange: float
    offload: float
    data: float
    flops: float
    """Executed by a rank."""
    mfu: float | None
    tokens_per_s: float
    """Useful ones, of all ranks."""

    @property
    def seconds(self) -> float:
        return max(self.arithmetic + self.context + self.exchange, self.data) + self.offload

    @property
    def limited_by(self) -> str:
        """What a faster one of would help most."""
        return "data" if self.data > self.arithmetic + self.context + self.exchange else "arithmetic"


def executed_flops(work: Workload) -> float:
    """FLOP of one rank in a step, with what full checkpointing computes again."""
    again = 0.0
    if work.engine.activation_checkpointing == "full":
        again = sum(_forward(part) for part in work.computed if part.gradient != "none")
    return (step_flops(work.computed) + again) / work.world


def _forward(part: Work) -> float:
    return 2 * part.weights * part.tokens + 4 * sum(one.layers * one.width * one.pairs for one in part.attention)


def all_to_all_bytes(attended: Attended, degree: int, number_bytes: int) -> float:
    """Bytes that a rank sends in one forward pass of one pack."""
    heads = 2 * attended.heads + 2 * attended.kv_heads
    share = attended.length / degree
    return attended.layers * share * heads * attended.head_dim * number_bytes * (degree - 1) / degree


def step_time(work: Workload, device: Device, *, rate: float, gpus_per_node: int, network: float | None) -> StepTime:
    """Predict a step. rate: FLOP/s that a rank executes; network: bytes/s of a rank between nodes."""
    several = work.world > max(gpus_per_node, 1)
    across = device.link if not several or network is None else min(device.link, network)
    arithmetic = executed_flops(work) / rate
    context = _context_bytes(work) / (device.link if work.engine.context_degree <= gpus_per_node else across)
    exchange = max(0.0, _exchanged_bytes(work) / across - OVERLAPPED * arithmetic)
    offload = 0.0
    if work.engine.offload_optimizer:
        own = work.trained / work.world
        offload = own * 6 / HOST_LINK + own * UPDATE_BYTES / HOST_UPDATE
    data = work.data_s / (work.world * max(work.engine.workers, 1))
    if device.is_cpu and not work.engine.workers:
        # A thread of the rank itself decodes, and shares its core; what was measured holds that already.
        data = 0.0
    found = StepTime(
        arithmetic=arithmetic,
        context=context,
        exchange=exchange,
        offload=offload,
        data=data,
        flops=executed_flops(work),
        mfu=None,
        tokens_per_s=0.0,
    )
    return replace(
        found,
        mfu=mfu(step_flops(work.useful), seconds=found.seconds, gpus=work.world, device=device.marketed_as),
        tokens_per_s=work.tokens / found.seconds,
    )


def _context_bytes(work: Workload) -> float:
    """All-to-all bytes of a rank in a step: forward, backward, and forward again where everything is recomputed."""
    passes = 3 if work.engine.activation_checkpointing == "full" else 2
    packs = work.packs_per_step / work.data_ranks
    return packs * passes * all_to_all_bytes(work.attended, work.engine.context_degree, work.number_bytes)


def _exchanged_bytes(work: Workload) -> float:
    """Gradients and weights that a rank sends in a step.

    ZeRO 0 and 1 reduce once a step, ZeRO 2 after every micro-batch; ZeRO 3 gathers the weights twice each time as well.
    """
    if work.world == 1:
        return 0.0
    stage = work.engine.zero_stage
    low = 4 if work.engine.precision == "fp32" else 2
    moved = work.trained * low * (work.world - 1) / work.world
    if stage <= 1:
        return 2 * moved
    if stage == 2:
        return (work.micro_batches + 1) * moved
    every = work.parameters * low * (work.world - 1) / work.world
    return work.micro_batches * (moved + 2 * every)

"""Memory of one rank, component by component. Source: performance spec section 9.8, pile-ffn spec section 6.

With ZeRO the ranks divide optimiser state (1), gradients as well (2), weights as well (3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trackyard.estimate.devices import Device
from trackyard.estimate.kept import SINGLE
from trackyard.estimate.workload import Part, Workload

BUCKET = 5e8
"""Numbers that DeepSpeed's buckets for reducing and for gathering gradients hold, each."""
LIVE = 1e9
"""Weights that ZeRO 3 has gathered at once, at most."""
FRAGMENTS = 0.06
"""Share of what tensors need that the allocator of a GPU holds besides, for want of holes of the right size."""
WORKER_BYTES = 0.45e9
"""A process that decodes rows, without what it has decoded."""
READY = 2
"""Micro-batches that each worker holds decoded."""
HOST_PROCESS = 3.0e9
"""Host memory of a rank that trains on a GPU: libraries, pinned buffers."""


@dataclass(frozen=True, slots=True)
class Item:
    """Bytes of one rank, on the device it trains on or in the memory of its host."""

    name: str
    bytes: float
    where: Literal["device", "host"] = "device"


def rank_memory(work: Workload, device: Device, *, reserved: float | None = None) -> tuple[Item, ...]:
    """The components of one rank at its peak. reserved: measured, instead of the device's."""
    tensors = [*_state(work), *_forward(work)]
    inside = sum(item.bytes for item in tensors if item.where == "device")
    loose = 0.0 if device.is_cpu else FRAGMENTS * inside
    before = device.reserved_bytes if reserved is None else reserved
    return (*tensors, Item("process, libraries and allocator", before + loose), *_host(work, device))


def total(items: Iterable[Item], where: Literal["device", "host"]) -> float:
    """Bytes in one place."""
    return sum(item.bytes for item in items if item.where == where)


def _state(work: Workload) -> list[Item]:
    engine, world, trained = work.engine, work.world, work.trained
    stage = engine.zero_stage
    low = 4 if engine.precision == "fp32" else 2
    # Under autocast what is trained stays in fp32; what is frozen is held in bf16.
    weights = (
        sum(part.parameters * (4 if part.gradient == "trained" else 2) for part in work.parts)
        if work.autocast
        else work.parameters * low
    )
    gradients = trained * SINGLE / (world if stage >= 2 else 1)
    # Without ZeRO and in fp32 the weights are the masters.
    moments = trained * (8 if stage == 0 else 12) / (world if stage >= 1 else 1)
    place: Literal["device", "host"] = "host" if engine.offload_optimizer else "device"
    items = [
        Item("weights", weights / (world if stage == 3 else 1)),
        Item("gradients", gradients),
        Item("masters and moments", moments, place),
    ]
    if engine.offload_optimizer:
        items.append(Item("gradients on their way to the host", trained * SINGLE / world, "host"))
    if work.autocast:
        # Autocast keeps what it has cast until the end of the forward pass; ZeRO 3 lets go of it before.
        held = min(LIVE, trained) if stage == 3 and world > 1 else trained
        items.append(Item("weights cast to bf16", 2 * held))
    if stage >= 1 and world > 1:
        items.append(Item("ZeRO buckets", 2 * min(BUCKET, trained) * low))
    if stage == 3 and world > 1:
        items.append(Item("weights gathered by ZeRO 3", min(LIVE, work.parameters) * low))
    return items


def _forward(work: Workload) -> list[Item]:
    engine = work.engine
    packs, share = engine.micro_batch, engine.micro_batch / engine.context_degree
    kept = sum(_kept(part, work, share) for part in work.parts)
    # The head's logits, in fp32, as probabilities and as gradients.
    rows = min(engine.loss_chunk, work.logits * share)
    return [
        Item("activations", kept),
        Item("logits", rows * work.vocab * (work.number_bytes + 3 * SINGLE)),
        Item("embeddings and pictures", work.pack_bytes * share),
        Item("mask", work.mask_bytes * packs),
    ]


def _kept(part: Part, work: Workload, share: float) -> float:
    """What a part keeps for the backward pass, and the one layer that is being computed (again)."""
    if part.kept is None:
        return 0.0
    how, width = work.engine.activation_checkpointing, work.number_bytes
    positions = part.positions * share
    layer = positions * part.kept.bytes("none", width)
    if part.gradient == "none":
        return layer
    return positions * part.layers * part.kept.bytes(how, width) + layer


def _host(work: Workload, device: Device) -> list[Item]:
    decoded = work.batch_bytes * work.engine.micro_batch
    workers = work.engine.workers
    # Without workers one thread of the rank decodes ahead.
    feed = workers * (WORKER_BYTES + READY * decoded) if workers else READY * decoded
    if device.is_cpu:
        return [Item("decoded rows", feed)]
    return [Item("decoded rows and workers", feed, "host"), Item("process on the host", HOST_PROCESS, "host")]

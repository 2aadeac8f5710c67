"""The smallest change with which a stage fits a machine, in a fixed order.

Order: micro-batch, activation checkpointing, ZeRO stage, offload, context degree, more GPUs: from what costs no time to
what costs most. A single one that suffices comes first; where none does, each is used to its end before the next, and
what turns out not to be needed is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from trackyard.errors import ConfigError
from trackyard.estimate.forecast import Forecast, forecast
from trackyard.estimate.workload import Workload
from trackyard.train.parameters import Recompute


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A setting and its new value. engine: parameters of the engine; world: ranks, None for as many as there are."""

    words: str
    engine: dict[str, Any] = field(default_factory=dict)
    world: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    """Changes in words, and the estimate with them."""

    changes: tuple[str, ...]
    forecast: Forecast


Dial = Callable[[Forecast], Iterator[Change]]


def smallest_change(found: Forecast) -> Fitting | None:
    """What to change so that the stage fits; None if nothing in the order does."""
    for dial in DIALS:
        for change in dial(found):
            fitting = _tried(found, [change])
            if fitting is not None:
                return fitting
    changes: list[Change] = []
    for dial in DIALS:
        last: Change | None = None
        for change in dial(found):
            if _changed(found.work, [*changes, change]) is None:
                continue
            last = change
            fitting = _tried(found, [*changes, change])
            if fitting is not None:
                return _without_needless(found, [*changes, change], fitting)
        changes += [] if last is None else [last]
    return None


def _without_needless(found: Forecast, changes: list[Change], fitting: Fitting) -> Fitting:
    """Take back, the costliest first, what is not needed."""
    for change in reversed(changes):
        fewer = [other for other in changes if other is not change]
        smaller = _tried(found, fewer)
        if smaller is not None:
            changes, fitting = fewer, smaller
    return fitting


def _tried(found: Forecast, changes: list[Change]) -> Fitting | None:
    """The estimate with these changes, if it fits."""
    work = _changed(found.work, changes)
    if work is None:
        return None
    outcome = forecast(work, found.machine, found.calibration)
    return Fitting(changes=tuple(change.words for change in changes), forecast=outcome) if outcome.fits else None


def _changed(work: Workload, changes: list[Change]) -> Workload | None:
    """The stage with these changes; None where packs, heads or ranks forbid them."""
    engine: dict[str, Any] = {}
    world = None
    for change in changes:
        # Offload asks for some ZeRO, and not for less than another change does.
        stages = [settings["zero_stage"] for settings in (engine, change.engine) if "zero_stage" in settings]
        engine |= change.engine | ({"zero_stage": max(stages)} if stages else {})
        world = world if change.world is None else change.world
    try:
        return work.changed(world=world, **engine)
    except (ConfigError, ValidationError):
        return None


def _micro_batch(found: Forecast) -> Iterator[Change]:
    size = found.work.engine.micro_batch
    for smaller in range(size - 1, 0, -1):
        if size % smaller == 0:
            yield Change(words=f"micro_batch {size} -> {smaller}", engine={"micro_batch": smaller})


def _checkpointing(found: Forecast) -> Iterator[Change]:
    order: tuple[Recompute, ...] = ("none", "selective", "full")
    now = found.work.engine.activation_checkpointing
    for more in order[order.index(now) + 1 :]:
        yield Change(words=f"activation_checkpointing {now} -> {more}", engine={"activation_checkpointing": more})


def _zero(found: Forecast) -> Iterator[Change]:
    now = found.work.engine.zero_stage
    for stage in range(now + 1, 4):
        yield Change(words=f"zero_stage {now} -> {stage}", engine={"zero_stage": stage})


def _offload(found: Forecast) -> Iterator[Change]:
    engine = found.work.engine
    if not engine.offload_optimizer and not found.machine.device.is_cpu:
        settings: dict[str, Any] = {"offload_optimizer": True}
        # Without ZeRO there is no state to offload; stage 1 computes the same.
        settings |= {"zero_stage": 1} if engine.zero_stage == 0 else {}
        yield Change(words="offload_optimizer -> true", engine=settings)


def _context(found: Forecast) -> Iterator[Change]:
    now = degree = found.work.engine.context_degree
    while degree * 2 <= found.work.world:
        degree *= 2
        yield Change(words=f"context_degree {now} -> {degree}", engine={"context_degree": degree})


def _gpus(found: Forecast) -> Iterator[Change]:
    """More of them; fewer where so many are not to be had."""
    if found.machine.device.is_cpu:
        return
    now, most = found.work.world, found.machine.most_gpus
    for world in range(now + 1, most + 1) if now <= most else range(most, 0, -1):
        yield Change(words=f"GPUs {now} -> {world}", world=world)


DIALS: tuple[Dial, ...] = (_micro_batch, _checkpointing, _zero, _offload, _context, _gpus)

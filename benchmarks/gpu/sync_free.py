"""G4: between log points our step never waits for the device.

    python -m benchmarks.gpu.sync_free [--steps N] [--out FILE]

Packages beside trackyard's own: a CUDA build of torch. Two engines, GPT-NeoX on whole windows and Molmo2 on packs with
pictures, take 20 steps each, first with every waiting operation counted and named, then under
`torch.cuda.set_sync_debug_mode("error")`. That mode does not see `torch.cuda.synchronize` and not every wait of events
and streams, so those are counted here as well. Negative controls: reading a loss must raise, and a plain
synchronisation must be counted. There is no --tiny: nothing can be said about a device that is not there.
Source: performance spec section 6 and G4.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu import gpu_vlm
from benchmarks.gpu.device import Stopwatch, device_of, forget, peak_gb, wait
from benchmarks.gpu.lm_contenders import Job, engine_of, step_of
from benchmarks.gpu.lm_sizes import PYTHIA_1_4B, size_of
from benchmarks.gpu.script import Given, Workload, run
from benchmarks.gpu.vlm_rows import packed, packs_of, weight_of
from benchmarks.harness import Unequal

WARM = 4
"""Steps before: they compile, allocate, and let DeepSpeed's timers start."""
Step = Callable[[int], Any]
WAITS = (
    (torch.cuda, "synchronize"),
    (torch.cuda.Event, "synchronize"),
    (torch.cuda.Stream, "synchronize"),
)
"""What waits for the device without torch's debug mode noticing, as far as Python calls it."""


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """Names of the calls of `WAITS` while this lasts, each with the line that made it."""
    found: list[str] = []
    before = [(owner, name, getattr(owner, name)) for owner, name in WAITS]

    def noting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            caller = traceback.extract_stack(limit=4)[0]
            found.append(f"{name} from {caller.filename}:{caller.lineno}")
            return original(*arguments, **named)

        return noted

    for owner, name, original in before:
        setattr(owner, name, noting(f"{owner.__name__}.{name}", original))
    try:
        yield found
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


@contextlib.contextmanager
def debug(mode: str) -> Iterator[None]:
    """torch's debug mode of synchronisations."""
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def synchronisations(step: Step, numbers: range) -> list[str]:
    """What waited for the device during some steps, and where."""
    with counted() as waits, warnings.catch_warnings(record=True) as seen, debug("warn"):
        warnings.simplefilter("always")
        for number in numbers:
            step(number)
    named = [f"{one.filename}:{one.lineno}" for one in seen if "synchroniz" in str(one.message)]
    return waits + named


def refused(work: Callable[[], Any]) -> bool:
    """Whether the debug mode stops some work."""
    with debug("error"):
        try:
            work()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            return True
    return False


def controls(step: Step) -> None:
    """Raises Unequal unless a read loss is refused and a synchronisation is counted."""

    def reading() -> None:
        step(0).loss.item()

    def waiting(number: int) -> None:
        torch.cuda.synchronize()

    if not refused(reading):
        raise Unequal("a loss read inside the step was not refused: the mode proves nothing")
    if not synchronisations(waiting, range(1)):
        raise Unequal("a plain synchronisation was not counted: the count proves nothing")


def examine(name: str, step: Step, steps: int, device: torch.device) -> Workload:
    """One engine: warm, controls, count, and the same again where waiting raises."""
    forget(device)
    for number in range(WARM):
        step(number)
    wait(device)
    controls(step)
    numbers = range(WARM, WARM + steps)
    watch = Stopwatch(device)
    found = synchronisations(step, numbers)
    taken = watch.report(steps)
    stopped = refused(lambda: [step(number) for number in numbers])
    clean = not found and not stopped
    for place in sorted(set(found)):
        print(f"  {name}: {found.count(place)} times {place}")
    verdict = {
        "peer": f"0 synchronisations in {steps} steps",
        "target": 1.0,
        "ratio": float(clean),
        "limit": 0,
        "found": len(found),
        "verdict": "reached" if clean else "missed",
    }
    figure = {
        "rate": steps / taken["wall_s"],
        "iqr": 0.0,
        "steady": True,
        "rounds": [taken],
        "extra": {"summary": f"{len(found)} synchronisations, peak memory {peak_gb(device):.1f} GB"},
    }
    return {
        "name": name,
        "unit": "steps/s",
        "figures": {"trackyard": figure},
        "targets": [verdict],
        "places": sorted(set(found)),
    }


def window_step(device: torch.device, *, tiny: bool, compiled: bool) -> Step:
    """GPT-NeoX: bf16, ZeRO 1, as in G1, with four layers."""
    size = size_of(True) if tiny else replace(PYTHIA_1_4B, layers=4)
    job = Job(size=size, device=device, turns=1, steps=1, compiled=compiled)
    return step_of(engine_of(job), job)


def pack_step(device: torch.device, *, tiny: bool, compiled: bool) -> Step:
    """Molmo2: packs with pictures, as in G3, with four layers."""
    size = gpu_vlm.TINY if tiny else replace(gpu_vlm.FULL, layers=4)
    engine = gpu_vlm.engine_of(size, device, bf16=not tiny, compiled=compiled)
    rows = packs_of(size, gpu_vlm.PACKS)
    batches, weight = [packed(size, pack) for pack in rows], sum(weight_of(pack) for pack in rows)
    return lambda number: engine.step(number, batches, weight)


def measure(given: Given) -> list[Workload]:
    device = device_of(given.tiny)
    makers = {"GPT-NeoX, whole windows": window_step, "Molmo2, packs with pictures": pack_step}
    return [
        examine(name, make(device, tiny=given.tiny, compiled=given.compiled), given.steps, device)
        for name, make in makers.items()
    ]


def main(argv: list[str] | None = None) -> int:
    return run("sync_free", __doc__, measure, argv, steps=20, rounds=1, claims_only=True)


if __name__ == "__main__":
    sys.exit(main())
